"""How the scripted model speaks: one class for each dialect of models.

A dialect reads a request into messages as in OpenAI chat completions, whatever it came as, and makes an
answer of what such a model would stream: deltas with content, reasoning_content and tool_calls, a
reason to stop, and usage. So one script serves every dialect. To add one: a class here, and its path in DIALECTS.
"""

import json


def event(handler, value, name=None):
    line = f"event: {name}\n".encode() if name else b""
    handler.wfile.write(line + b"data: " + json.dumps(value).encode() + b"\n\n")
    handler.wfile.flush()


def said(role, content):
    return {"role": role, "content": content}


class OpenAIChat:
    name = "openai_chat"

    @staticmethod
    def messages(body):
        return body.get("messages", [])

    def __init__(self, handler, ask):
        self.handler = handler

    def begin(self):
        self.delta({"role": "assistant"})

    def delta(self, delta):
        self.chunk(self.handler, {"choices": [{"index": 0, "delta": delta, "finish_reason": None}]})

    def end(self, reason, usage):
        self.chunk(self.handler, {"choices": [{"index": 0, "delta": {}, "finish_reason": reason}]})
        self.chunk(self.handler, {"choices": [], "usage": usage})
        self.handler.wfile.write(b"data: [DONE]\n\n")

    @staticmethod
    def chunk(handler, value):
        event(handler, {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m", **value})


class OpenAIResponses:
    """Items are streamed in pieces and told again at their end. Thoughts are encrypted, so to speak."""

    name = "openai_responses"
    ENDS = {"stop": "completed", "tool_calls": "completed", "length": "max_output_tokens",
            "content_filter": "content_filter"}

    @staticmethod
    def messages(body):
        """Items that the model said in a row are one message."""
        messages, turn = [said("system", body.get("instructions"))], None
        for item in body.get("input", []):
            kind = item.get("type", "message")
            if kind == "function_call_output":
                messages.append({"role": "tool", "tool_call_id": item["call_id"], "content": item["output"]})
                turn = None
            elif kind == "message" and item["role"] != "assistant":
                messages.append(said(item["role"], item["content"]))
                turn = None
            else:
                if turn is None:
                    turn = {"role": "assistant", "content": None, "items": []}
                    messages.append(turn)
                turn["items"].append(item)
        return messages

    def __init__(self, handler, ask):
        self.handler, self.step = handler, ask.step
        self.places = {}  # of what is being said: its place in the output
        self.output = []

    def tell(self, kind, **fields):
        event(self.handler, {"type": f"response.{kind}", **fields}, f"response.{kind}")

    def begin(self):
        self.tell("created", response={"object": "response", "status": "in_progress", "output": []})

    def item(self, what, **item):
        """The place of an item in the output, which begins now when it is new."""
        if what not in self.places:
            self.places[what] = len(self.output)
            self.output.append({"id": f"{item['type']}_{self.step}_{len(self.output)}", **item})
            self.tell("output_item.added", output_index=self.places[what], item=self.output[-1])
        return self.places[what]

    def piece(self, at, kind, delta, **fields):
        self.tell(f"{kind}.delta", output_index=at, item_id=self.output[at]["id"], delta=delta, **fields)

    def delta(self, delta):
        if delta.get("reasoning_content"):
            at = self.item("thought", type="reasoning", summary=[])
            self.piece(at, "reasoning_summary_text", delta["reasoning_content"], summary_index=0)
            self.grow(self.output[at], "summary", "summary_text", delta["reasoning_content"])
        if delta.get("content"):
            at = self.item("text", type="message", role="assistant", content=[])
            self.piece(at, "output_text", delta["content"], content_index=0)
            self.grow(self.output[at], "content", "output_text", delta["content"])
        for call in delta.get("tool_calls", []):
            at = self.item(call["index"], type="function_call", call_id=call.get("id"),
                           name=call["function"].get("name"), arguments="")
            self.piece(at, "function_call_arguments", call["function"]["arguments"])
            self.output[at] = {**self.output[at],
                               "arguments": self.output[at]["arguments"] + call["function"]["arguments"]}

    @staticmethod
    def grow(item, member, kind, text):
        if not item[member]:
            item[member].append({"type": kind, "text": ""})
        item[member][0]["text"] += text

    def end(self, reason, usage):
        end = self.ENDS[reason]
        status = "completed" if end == "completed" else "incomplete"
        for at, item in enumerate(self.output):
            if item["type"] == "reasoning":
                item["encrypted_content"] = f"gAAAA{self.step}=="
            item["status"] = status
            self.tell("output_item.done", output_index=at, item=item)
        response = {"object": "response", "status": status, "output": self.output,
                    "usage": {"input_tokens": usage["prompt_tokens"], "output_tokens": usage["completion_tokens"]}}
        if status == "incomplete":
            response["incomplete_details"] = {"reason": end}
        self.tell(status, response=response)


class Anthropic:
    """Blocks that begin, grow and stop. Thoughts are signed, so to speak."""

    name = "anthropic"
    ENDS = {"stop": "end_turn", "tool_calls": "tool_use", "length": "max_tokens", "content_filter": "refusal",
            "pause": "pause_turn"}

    @staticmethod
    def messages(body):
        """What the user's side says is one message, whose blocks are messages elsewhere."""
        messages = [said("system", body["system"][0]["text"])]
        for message in body["messages"]:
            if message["role"] == "assistant":
                messages.append(message)
                continue
            for block in message["content"]:
                if block["type"] == "tool_result":
                    messages.append({"role": "tool", "tool_call_id": block["tool_use_id"],
                                     "content": block.get("content", "")})
                else:
                    messages.append(said("user", block["text"]))
        return messages

    def __init__(self, handler, ask):
        self.handler, self.step = handler, ask.step
        self.places = {}  # of what is being said: the index of its block

    def tell(self, kind, **fields):
        event(self.handler, {"type": kind, **fields}, kind)

    def begin(self):
        self.tell("message_start", message={"type": "message", "role": "assistant", "content": [], "stop_reason": None,
                                            "usage": {"input_tokens": 0, "output_tokens": 1}})
        self.tell("ping")

    def piece(self, what, kind, delta, **block):
        if what not in self.places:
            self.places[what] = len(self.places)
            self.tell("content_block_start", index=self.places[what], content_block=block)
        self.tell("content_block_delta", index=self.places[what], delta={"type": kind, **delta})

    def delta(self, delta):
        if delta.get("reasoning_content"):
            self.piece("thought", "thinking_delta", {"thinking": delta["reasoning_content"]}, type="thinking", thinking="",
                       signature="")
        if delta.get("content"):
            self.piece("text", "text_delta", {"text": delta["content"]}, type="text", text="")
        for call in delta.get("tool_calls", []):
            self.piece(call["index"], "input_json_delta", {"partial_json": call["function"]["arguments"]}, type="tool_use",
                       id=call.get("id"), name=call["function"].get("name"), input={})

    def end(self, reason, usage):
        if "thought" in self.places:
            self.piece("thought", "signature_delta", {"signature": f"EqQB{self.step}=="})
        for index in self.places.values():
            self.tell("content_block_stop", index=index)
        self.tell("message_delta", delta={"stop_reason": self.ENDS[reason], "stop_sequence": None},
                  usage={"input_tokens": usage["prompt_tokens"], "output_tokens": usage["completion_tokens"]})
        self.tell("message_stop")


DIALECTS = {"/v1/chat/completions": OpenAIChat, "/v1/responses": OpenAIResponses, "/v1/messages": Anthropic}


def dialect_at(path):
    return DIALECTS.get(path, OpenAIChat)
