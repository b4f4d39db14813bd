"""The demo and the first agent: what a newcomer runs first."""
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request

import pytest
from dev_stack import BUILD, ROOT, DevStack
from infra import takes_long
from waiting import wait_until

DEMO, FIRST = ROOT / "examples" / "demo", ROOT / "examples" / "first-agent"
PYTHON = sys.executable


class Service:
    """One of the Python programs under examples/, at a port of its own."""

    def __init__(self, path, *arguments, listen="127.0.0.1:0"):
        command = [PYTHON, str(path), "--listen", listen, *map(str, arguments)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.url = self.process.stdout.readline().partition(": ")[2].strip().removesuffix("/v1")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()
        self.process.stdout.close()

    def get(self, path):
        with urllib.request.urlopen(self.url + path, timeout=30) as answer:
            return json.load(answer)

    def post(self, path, value, **headers):
        headers = {"Content-Type": "application/json", **{k.replace("_", "-"): v for k, v in headers.items()}}
        request = urllib.request.Request(self.url + path, json.dumps(value).encode(), headers)
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.read().decode()


# ------------------------------------------------------------------ the scripted model

ASKED = [{"role": "user", "content": "Send the November invoice to Ada, Grace and Alan."}]


def completion(model, name, messages, **more):
    return json.loads(model.post("/v1/chat/completions", {"model": name, "messages": messages, **more}))


def test_the_model_is_a_function_of_the_conversation():
    with Service(DEMO / "model_server.py") as model:
        first, again = (completion(model, "invoices", ASKED)["choices"][0] for _ in range(2))
        assert first == again and first["finish_reason"] == "tool_calls"
        calls = first["message"]["tool_calls"]
        assert [json.loads(c["function"]["arguments"]) for c in calls] == [{"customer": n} for n in ("Ada", "Grace", "Alan")]
        told = [{"role": "tool", "tool_call_id": c["id"], "content": '{"customer": "%s", "amount": 7}' % n}
                for c, n in zip(calls, ("Ada", "Grace", "Alan"))]
        second = completion(model, "invoices", [*ASKED, first["message"], *told])["choices"][0]
        assert {c["function"]["name"] for c in second["message"]["tool_calls"]} == {"send_invoice"}
        sent = [{"role": "tool", "tool_call_id": "x", "content": '{"invoice": "INV-1"}'}] * 3
        last = completion(model, "invoices", [*ASKED, first["message"], *told, second["message"], *sent])["choices"][0]
        assert last["finish_reason"] == "stop" and last["message"]["content"].count("INV-1") == 3
        # An answer counts as under way until the server has turned from it, by when the next question may be there.
        stats = wait_until(lambda: (now := model.get("/stats"))["in_flight"] == 0 and now, "all answers are given")
        assert 1 <= stats.pop("peak") <= 2
        assert stats == {"total": 4, "in_flight": 0, "final": 1, "cut": 0, "keys": 3, "asked_again": 1}


def test_a_streamed_answer_says_the_same():
    with Service(DEMO / "model_server.py") as model:
        whole = completion(model, "invoices", ASKED)
        body = model.post("/v1/chat/completions", {"model": "invoices", "messages": ASKED, "stream": True,
                                                   "stream_options": {"include_usage": True}})
        events = [line[6:] for line in body.splitlines() if line.startswith("data: ")]
        assert events[-1] == "[DONE]"
        chunks = [json.loads(e) for e in events[:-1]]
        text, arguments, reasons = "", {}, []
        for choice in (c for chunk in chunks for c in chunk["choices"]):
            text += choice["delta"].get("content") or ""
            for call in choice["delta"].get("tool_calls", []):
                arguments[call["index"]] = arguments.get(call["index"], "") + call["function"]["arguments"]
            reasons.append(choice["finish_reason"])
        message = whole["choices"][0]["message"]
        assert text == message["content"]
        assert list(arguments.values()) == [c["function"]["arguments"] for c in message["tool_calls"]]
        assert set(reasons[:-1]) == {None} and reasons[-1] == "tool_calls"
        assert chunks[-1]["usage"] == whole["usage"] and chunks[-1]["choices"] == []


def test_a_script_in_the_models_name_sets_steps_calls_and_size():
    tools = [{"type": "function", "function": {"name": n, "parameters": {"properties": {"step": {}, "city": {"type": "string"}}}}}
             for n in ("first", "second")]
    with Service(DEMO / "model_server.py") as model:
        messages = [{"role": "user", "content": "What about Oslo?"}]
        for step in (1, 2):
            answer = completion(model, "scripted;s=3;k=2;d=1;b=200", messages, tools=tools)["choices"][0]["message"]
            assert [c["function"]["name"] for c in answer["tool_calls"]] == ["first", "second"]
            assert json.loads(answer["tool_calls"][0]["function"]["arguments"]) == {"step": step, "city": "Oslo"}
            assert len(answer["content"]) == 200
            messages += [answer] + [{"role": "tool", "tool_call_id": c["id"], "content": "ok"} for c in answer["tool_calls"]]
        assert "tool_calls" not in completion(model, "scripted;s=3;k=2", messages, tools=tools)["choices"][0]["message"]


def test_an_answer_that_nobody_reads_is_counted_as_cut():
    with Service(DEMO / "model_server.py", "--delay", "3") as model:
        body = json.dumps({"model": "invoices", "messages": ASKED, "stream": True}).encode()
        request = urllib.request.Request(model.url + "/v1/chat/completions", body)
        with urllib.request.urlopen(request, timeout=10) as answer:
            answer.read(20)
            assert model.get("/stats")["in_flight"] == 1
        stats = wait_until(lambda: (s := model.get("/stats"))["in_flight"] == 0 and s, "the end of the answer")
        assert stats["cut"] == 1 and stats["final"] == 0


@pytest.mark.parametrize("body", [b"", b"no json", b"[]", b'{"model": "x"}'])
def test_a_bad_request_is_refused_by_the_model(body):
    with Service(DEMO / "model_server.py") as model:
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(urllib.request.Request(model.url + "/v1/chat/completions", body), timeout=10)
        assert refused.value.code == 400
        refused.value.close()


# ---------------------------------------------------------------- the invoice service


def test_the_ledger_is_written_before_the_answer_and_counts_everything_twice_sent(tmp_path):
    ledger = tmp_path / "ledger.jsonl"
    with Service(DEMO / "invoice_service.py", "--ledger", ledger, "--delay", "1") as service:
        invoice = {"customer": "Ada", "amount": 120}
        answers = []
        sender = threading.Thread(
            target=lambda: answers.append(service.post("/invoices", invoice, Idempotency_Key='"k-1"'))
        )
        sender.start()
        entries = wait_until(lambda: service.get("/ledger")["entries"], "the entry in the ledger")
        assert not entries[0]["answered"] and not answers and entries[0]["key"] == "k-1"
        assert json.loads(ledger.read_text())["customer"] == "Ada"
        sender.join()
        assert json.loads(answers[0]) == {"invoice": "INV-0001", **invoice}
        service.post("/invoices", invoice, Idempotency_Key='"k-1"')
        report = service.get("/ledger")
        assert report["sent"] == 2 and report["duplicates"] == 1 and report["by_key"] == {"k-1": 2}
        assert service.get("/invoices/by-key/k-1")["result"]["invoice"] == "INV-0001"
        with pytest.raises(urllib.error.HTTPError, match="404"):
            service.get("/invoices/by-key/k-2")
    with Service(DEMO / "invoice_service.py", "--ledger", ledger) as service:
        assert service.get("/ledger")["sent"] == 2


# --------------------------------------------------------------------------- the demo


def play(*arguments, seconds=180):
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PAWL_")}
    command = [PYTHON, str(DEMO / "run"), "--build", str(BUILD), *arguments]
    began = time.monotonic()
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          cwd=ROOT, start_new_session=True) as demo:
        try:
            output, _ = demo.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            os.killpg(demo.pid, signal.SIGTERM)
            output, _ = demo.communicate(timeout=60)
            pytest.fail("the demo did not end:\n" + output)
    assert demo.returncode == 0, output
    return output, time.monotonic() - began


def check_demo(output):
    assert re.search(r"^sent 5, duplicates 0, lost 0$", output, re.M), output
    assert output.count("kill -9") == 2
    assert "lost" in output and "the process that asked the model died with it" in output
    assert "its process died with it; the tool was asked: it happened" in output
    assert "OPENAI_API_KEY" in output
    assert "copied" not in output and "failed" not in output


def test_the_demo_ends_with_no_duplicate_and_nothing_lost():
    output, seconds = play()
    check_demo(output)
    assert seconds < 60


@takes_long
def test_the_demo_with_two_of_each():
    output, _ = play("--planners", "2", "--executors", "2")
    check_demo(output)
    assert "2 planner(s), 2 executor(s)" in output


@pytest.mark.skipif(not os.environ.get("PAWL_TEST_LONG"), reason="needs Java and Maven; runs with ./dev test --long")
def test_the_demo_on_a_real_kafka():
    output, _ = play("--kafka", seconds=300)
    check_demo(output)
    assert "Apache Kafka at 127.0.0.1" in output


# --------------------------------------------------------------------- the first agent


@pytest.fixture(scope="module")
def first_agent(tmp_path_factory):
    """A stack with the first agent, as the README says: its tool and the scripted model listen."""
    found = DevStack()
    try:
        found.start()
        with Service(FIRST / "weather.py") as weather, Service(DEMO / "model_server.py") as model:
            text = (FIRST / "agent.yaml").read_text()
            text = text.replace("http://127.0.0.1:8090", weather.url).replace("http://127.0.0.1:8091", model.url)
            path = tmp_path_factory.mktemp("first") / "agent.yaml"
            path.write_text(text)
            found.pawl("agent", "apply", path)
            yield found
    finally:
        found.stop()
        found.remove()


def test_the_first_agent_answers_as_the_readme_says(first_agent):
    asked = "Shall I take an umbrella in Bergen or in Oslo?"
    answer = first_agent.pawl("run", "start", "--agent", "weather", "--input", asked, "--wait")
    assert '"city": "Bergen"' in answer and '"city": "Oslo"' in answer
    watched = first_agent.pawl("run", "start", "--agent", "weather", "--input", asked, "--watch")
    assert 'get_weather {"city": "Oslo"}' in watched and "succeeded after" in watched


@pytest.mark.skipif(not shutil.which("kcat"), reason="kcat is not installed")
def test_the_documented_commands_for_kcat_start_runs(first_agent):
    page = (ROOT / "examples" / "requests" / "README.md").read_text()
    bare, binary, _, events = re.findall(r"```sh\n(.*?)```", page, re.S)
    environment = {**os.environ, "KAFKA": first_agent.state()["kafka"]}

    def shell(command):
        return subprocess.run(["bash", "-euc", command], env=environment, capture_output=True, text=True, check=True)

    for command in (bare, binary, bare):
        shell(command)

    def ended():
        runs = [first_agent.json("run", "show", r["run_id"])["run"] for r in first_agent.json("run", "list")]
        return {(r["source"], r["request_id"]): r["status"] for r in runs if r["source"] != "pawl-cli"}

    done = {("kafka:pawl.run-requests", "order-1"): "succeeded", ("/orders", "order-2"): "succeeded"}
    wait_until(lambda: ended() == done, "two runs that have ended, and no third one")
    wait_until(lambda: shell(events).stdout.count("dev.pawl.run.succeeded.v1") >= 2, "both announced")


def test_a_missing_key_is_told_where_a_newcomer_looks(first_agent):
    """The run waits for a planner that has the key; what the planner logs stands in the terminal of `pawl dev`."""
    assert "OPENAI_API_KEY" not in first_agent.environment
    first_agent.pawl("agent", "apply", FIRST / "agent-openai.yaml")
    run = first_agent.pawl("run", "start", "--agent", "weather", "--input", "Is it windy in Oslo?").strip()
    wait_until(lambda: "OPENAI_API_KEY is not set" in first_agent.output(), "the supervisor's word about the key")
    wait_until(lambda: "nobody has taken it yet" in first_agent.pawl("run", "show", run), "the hint")
    first_agent.pawl("run", "cancel", run)


def test_the_files_of_the_examples_are_good():
    stack = DevStack(fresh=True)
    for path in (FIRST / "agent.yaml", FIRST / "agent-openai.yaml", FIRST / "agent-anthropic.yaml", DEMO / "agent.yaml"):
        stack.pawl("config", "check", path)
    stack.remove()
