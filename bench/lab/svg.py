"""Line charts as SVG, written by hand: small files that any browser and any forge shows."""

import math
from html import escape

WIDTH, HEIGHT = 760, 260
LEFT, RIGHT, TOP, BOTTOM = 62, 150, 34, 34
COLOURS = ("#2563a8", "#c2571a", "#2e8540", "#8e44ad", "#b8860b", "#16817a", "#a8324a", "#5d6d7e")
GRID, INK = "#d9dde3", "#3c4652"


def nice_step(span, ticks=5):
    """1, 2 or 5 times a power of ten."""
    rough = span / ticks
    power = 10 ** math.floor(math.log10(rough))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough)


def label(value):
    return f"{value:,.0f}" if abs(value) >= 10 or value == int(value) else f"{value:g}"


class Chart:
    """series: {name: [(x, y), ...]}; the y axis begins at 0 unless `low` says otherwise."""

    def __init__(self, title, unit, series, x_unit="minutes", low=0.0):
        self.title, self.unit, self.x_unit = title, unit, x_unit
        self.series = {name: points for name, points in series.items() if points}
        every = [point for points in self.series.values() for point in points] or [(0, 0)]
        self.x_max = max(max(x for x, _ in every), 1e-9)
        self.low = low
        top = max(max(y for _, y in every), low + 1e-9)
        self.y_step = nice_step(max(top - low, 1e-9))
        self.high = low + self.y_step * math.ceil((top - low) / self.y_step)
        self.out = []

    def x(self, value):
        return LEFT + (WIDTH - LEFT - RIGHT) * value / self.x_max

    def y(self, value):
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * (value - self.low) / (self.high - self.low)

    def text(self, x, y, words, anchor="start", size=11, colour=INK, weight="normal"):
        self.out.append(f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" fill="{colour}" '
                        f'font-weight="{weight}">{escape(words)}</text>')

    def line(self, x1, y1, x2, y2, colour=GRID):
        self.out.append(f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}"/>')

    def axes(self):
        value = self.low
        while value <= self.high + self.y_step / 2:
            self.line(LEFT, self.y(value), WIDTH - RIGHT, self.y(value))
            self.text(LEFT - 6, self.y(value) + 4, label(value), "end")
            value += self.y_step
        step = nice_step(self.x_max, 8)
        value = 0.0
        while value <= self.x_max * 1.0001:
            self.line(self.x(value), HEIGHT - BOTTOM, self.x(value), HEIGHT - BOTTOM + 4, INK)
            self.text(self.x(value), HEIGHT - BOTTOM + 17, label(value), "middle")
            value += step
        self.line(LEFT, HEIGHT - BOTTOM, WIDTH - RIGHT, HEIGHT - BOTTOM, INK)
        self.text(LEFT - 6, HEIGHT - BOTTOM + 17, self.x_unit, "end")
        self.text(LEFT, TOP - 14, self.title, weight="bold", size=13)
        self.text(WIDTH - RIGHT, TOP - 14, self.unit, "end")

    def lines(self):
        for place, (name, points) in zip(self.places(), self.from_top()):
            colour = COLOURS[list(self.series).index(name) % len(COLOURS)]
            path = " ".join(f"{self.x(x):.1f},{self.y(y):.1f}" for x, y in points)
            self.out.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.4" stroke-linejoin="round"/>')
            self.text(WIDTH - RIGHT + 8, place, name, colour=colour)

    def from_top(self):
        return sorted(self.series.items(), key=lambda item: -item[1][-1][1])

    def places(self):
        """Names stand at the ends of their lines, pushed apart where they would meet, within the chart."""
        found = [self.y(points[-1][1]) + 4 for _, points in self.from_top()]
        lowest = HEIGHT - BOTTOM + 4
        for at in reversed(range(len(found))):
            found[at] = min(found[at], lowest)
            lowest = found[at] - 13
        highest = TOP
        for at, place in enumerate(found):
            found[at] = max(place, highest)
            highest = found[at] + 13
        return found

    def draw(self):
        self.axes()
        self.lines()
        head = (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" '
                'font-family="Helvetica, Arial, sans-serif">')
        return "\n".join([head, f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>', *self.out, "</svg>", ""])
