#!/usr/bin/env python3
"""The tables and plots of one run of compare.sh, from its raw file.

    benches/figures.py RAW                  prints the tables
    benches/figures.py RAW --docs DIR       and puts them into DIR/PERFORMANCE.md between its marks, with
                                            DIR/performance-calls.svg and DIR/performance-programs.svg

The raw file has a line for each measurement, "KIND NAME TOOL VALUE": nanoseconds of a call, a program or a request, KiB of a
size; and lines of "# KEY TEXT" about the run. Ratios are of the least values, as what else the machine does only ever adds.
"""

import math
import statistics
import sys
from collections import defaultdict
from pathlib import Path
from xml.sax.saxutils import escape

BEGIN, END = "<!-- figures: begin -->", "<!-- figures: end -->"


class Run:
    """What was measured, in the order in which it was."""

    def __init__(self, lines):
        self.about, self.tools, self.versions = {}, [], {}
        self.values = defaultdict(list)
        self.names = defaultdict(list)
        for line in lines:
            words = line.split()
            if words[:2] == ["#", "tool"]:
                self.tools.append(words[2])
                self.versions[words[2]] = " ".join(words[3:])
            elif words[:1] == ["#"]:
                self.about[words[1]] = " ".join(words[2:])
            elif len(words) == 4:
                kind, name, tool, value = words
                kind = "program" if kind == "request" else kind
                if name not in self.names[kind]:
                    self.names[kind].append(name)
                self.values[name, tool].append(float(value))

    def least(self, name, tool):
        """The least value, or None where there is none."""
        return min(self.values[name, tool], default=None)

    def median(self, name, tool):
        """The median, or None."""
        values = self.values[name, tool]
        return statistics.median(values) if values else None

    def ratio(self, name, tool, to):
        """How many times as long `tool` takes as `to`."""
        ours, theirs = self.least(name, tool), self.least(name, to)
        return ours / theirs if ours and theirs else None

    def used(self, kind):
        """The tools that have a value of this kind."""
        names = self.names[kind]
        return [tool for tool in self.tools if any(self.values[name, tool] for name in names)]

    def line(self):
        """When, of what and where."""
        about = self.about
        return f"{about['date']}, commit {about['commit']}, {about['kernel']}, {about['cpu']}"


def digits(value):
    """Three significant digits, no more than are there."""
    if value is None:
        return "–"
    return f"{value:.0f}" if value >= 99.95 else f"{value:.{max(0, 2 - math.floor(math.log10(value)))}f}"


def time(nanoseconds):
    """Nanoseconds with the unit that fits them."""
    if nanoseconds is None:
        return "–"
    for unit, size in (("s", 1e9), ("ms", 1e6)):
        if nanoseconds >= size:
            return f"{digits(nanoseconds / size)} {unit}"
    return f"{digits(nanoseconds / 1e3)} µs"


def short(tool):
    """How a tool is called in a table."""
    return tool.removeprefix("cage-trace:")


# Tables ---------------------------------------------------------------------------------------------------------------


def table(head, rows):
    """A table of Markdown, its columns aligned for those who read it as text."""
    rows = [head, *rows]
    widths = [max(len(row[i]) for row in rows) for i in range(len(head))]
    fill = lambda row: "| " + " | ".join(c.ljust(w) if i == 0 else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths))) + " |"
    rule = "|" + "|".join("-" * (w + 1) + ("-" if i == 0 else ":") for i, w in enumerate(widths)) + "|"
    return "\n".join([fill(head), rule, *map(fill, rows[1:])])


def ratios(run, kind):
    """What each tool makes of the native times."""
    tools = [tool for tool in run.used(kind) if tool != "native"]
    rows = [
        [name, time(run.least(name, "native")), *(digits(run.ratio(name, tool, "native")) for tool in tools)]
        for name in run.names[kind]
    ]
    return table([kind, "native", *map(short, tools)], rows)


def against_strace(run):
    """How many times faster than strace the cage-traces are."""
    cages = [tool for tool in run.tools if tool.startswith("cage-trace")]
    if "strace" not in run.tools or not cages:
        return None
    names = run.names["call"] + run.names["program"]
    rows = [[name, *(digits(run.ratio(name, "strace", tool)) for tool in cages)] for name in names]
    return table(["strace's time in cage-trace's", *map(short, cages)], rows)


def times(run):
    """All of it, the medians too."""
    names = run.names["call"] + run.names["program"]
    cell = lambda name, tool: f"{time(run.least(name, tool))} / {time(run.median(name, tool))}"
    return table(["least / median", *map(short, run.tools)], [[name, *(cell(name, tool) for tool in run.tools)] for name in names])


def report(run):
    """The part of PERFORMANCE.md that is this run's."""
    about = run.about
    versions = [text for tool, text in run.versions.items() if text and not tool.startswith("cage-trace")]
    waited = f"; waited {about['waited']}" if "waited" in about else ""
    parts = [
        f"{run.line()}; rounds: {about['rounds']}; CPUs idle before {about['idle-before']}, after {about['idle-after']}{waited}; "
        f"{', '.join(versions) or 'no other tools'}."
    ]
    faults = []
    if int(about["rounds"].split(",")[0]) < 7:
        faults.append("Few rounds")
    if int(about["idle-before"].split()[0]) < 80 and "waited" not in about:
        faults.append("Busy CPUs" if not faults else "busy CPUs")
    if faults:
        parts.append(f"**{' and '.join(faults)}: this run shows that all of it runs; the figures are not to be quoted.**")
    for kind, heading in (("call", "### Calls"), ("program", "### Programs")):
        if run.names[kind]:
            parts += [heading, "Least time natively, and each tool's least time as a multiple of it.", ratios(run, kind)]
    faster = against_strace(run)
    if faster:
        parts += ["### Against strace", faster]
    parts += ["### All times", times(run)]
    sizes = [f"{short(tool)} {run.least('supervisor', tool):.0f} KiB" for tool in run.tools if run.least("supervisor", tool)]
    if sizes:
        parts.append(f"Resident at most in the supervisor: {', '.join(sizes)}.")
    return "\n\n".join(parts) + "\n"


# Plots ----------------------------------------------------------------------------------------------------------------

# Told apart by those who see few colours, on white and on black.
COLOURS = {
    "native": "#808080",
    "cage-trace": "#0072b2",
    "cage-trace:fast": "#0072b2",
    "cage-trace:hybrid": "#56b4e9",
    "cage-trace:ptrace": "#8c6bb1",
    "cage-trace:fast+all": "#009e73",
    "cage-trace:fast+audit": "#66c2a5",
    "strace": "#d55e00",
    "proot": "#e69f00",
    "bwrap": "#cc79a7",
    "runsc": "#a6761d",
}
OTHERS = ["#1b9e77", "#7570b3", "#e7298a", "#66a61e"]

STYLE = """
text { font: 12px system-ui, 'DejaVu Sans', sans-serif; fill: #1f2328 }
.title { font-size: 17px; font-weight: 600 } .small, .value { font-size: 10px; fill: #59636e }
.value { font-size: 9px } .paper { fill: #ffffff } .grid { stroke: #d8dee4 } .one { stroke: #1f2328 } .band { fill: #f3f5f7 }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 } .small, .value { fill: #9da7b1 }
  .paper { fill: #0d1117 } .grid { stroke: #30363d } .one { stroke: #e6edf3 } .band { fill: #161b22 }
}
"""
WIDTH, LEFT, RIGHT, BAR, GAP = 960, 190, 70, 8, 10


def colour(tool, tools):
    """A tool's colour."""
    unknown = [other for other in tools if other not in COLOURS]
    return COLOURS.get(tool) or OTHERS[unknown.index(tool) % len(OTHERS)]


def tick(value):
    """A number on the axis."""
    return f"{value:,.0f}".replace(",", " ") if value >= 1 else f"{value:g}"


def plot(run, kind, title, subtitle, axis, value, label, origin):
    """Bars on a logarithmic axis, a group for each name and a colour for each tool. Bars begin at `origin`, or, where it is None,
    at the axis's left end; `value` gives a bar's length, `label` the second line below a name."""
    tools = [tool for tool in run.used(kind) if not (origin and tool == "native")]
    groups = [(name, [(tool, value(name, tool)) for tool in tools if value(name, tool)]) for name in run.names[kind]]
    every = [amount for _, bars in groups for _, amount in bars]
    low, high = 10 ** math.floor(math.log10(min(every))), 10 ** math.ceil(math.log10(max(every)))
    if origin:
        low, high = min(every + [origin]) / 1.25, max(every) * 1.5
    across = lambda amount: LEFT + (WIDTH - LEFT - RIGHT) * math.log(amount / low) / math.log(high / low)
    columns = max(1, min(len(tools), 5))
    top = 78 + 18 * math.ceil(len(tools) / columns)
    height = top + sum(max(len(bars), 4) * BAR + GAP for _, bars in groups) + 66

    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" role="img">',
        f"<title>{escape(title)}</title>",
        f"<style>{STYLE}</style>",
        f'<rect class="paper" width="{WIDTH}" height="{height}"/>',
        f'<text class="title" x="20" y="28">{escape(title)}</text>',
        f'<text class="small" x="20" y="46">{escape(subtitle)}</text>',
    ]
    for i, tool in enumerate(tools):
        x, y = 20 + (i % columns) * (WIDTH - 40) / columns, 62 + 18 * (i // columns)
        out.append(f'<rect x="{x:.0f}" y="{y}" width="12" height="10" fill="{colour(tool, tools)}"/>')
        out.append(f'<text x="{x + 18:.0f}" y="{y + 9}">{escape(tool)}</text>')
    y, bottom = top, height - 66 - GAP / 2
    body, bands = [], []
    for index, (name, bars) in enumerate(groups):
        tall = max(len(bars), 4) * BAR
        if index % 2 == 0:
            bands.append(f'<rect class="band" x="10" y="{y - GAP / 2:.0f}" width="{WIDTH - 20}" height="{tall + GAP}"/>')
        middle = y + tall / 2
        below = label(name)
        body.append(f'<text x="{LEFT - 12}" y="{middle + (-1 if below else 4):.0f}" text-anchor="end">{escape(name)}</text>')
        if below:
            body.append(f'<text class="small" x="{LEFT - 12}" y="{middle + 12:.0f}" text-anchor="end">{escape(below)}</text>')
        for i, (tool, amount) in enumerate(bars):
            ends = sorted((across(origin or low), across(amount)))
            at = y + (tall - len(bars) * BAR) / 2 + i * BAR
            body.append(
                f'<rect x="{ends[0]:.1f}" y="{at:.1f}" width="{max(ends[1] - ends[0], 1):.1f}" height="{BAR - 1}" '
                f'fill="{colour(tool, tools)}"><title>{escape(f"{name}, {tool}: {digits(amount)}")}</title></rect>'
            )
            body.append(f'<text class="value" x="{ends[1] + 4:.1f}" y="{at + BAR - 1.2:.1f}">{digits(amount)}</text>')
        y += tall + GAP
    out += bands
    steps = (1, 2, 5) if high / low < 3000 else (1,)
    powers = range(math.floor(math.log10(low)), math.floor(math.log10(high)) + 1)
    for at in (step * 10**power for power in powers for step in steps):
        if not low <= at <= high:
            continue
        x = across(at)
        out.append(f'<line class="grid" x1="{x:.1f}" y1="{top - GAP / 2}" x2="{x:.1f}" y2="{bottom}"/>')
        out.append(f'<text x="{x:.1f}" y="{bottom + 16:.0f}" text-anchor="middle">{tick(at)}</text>')
    if origin:
        x = across(origin)
        out.append(f'<line class="one" x1="{x:.1f}" y1="{top - GAP / 2}" x2="{x:.1f}" y2="{bottom}"/>')
    out += body
    out.append(f'<text x="{(LEFT + WIDTH - RIGHT) / 2:.0f}" y="{bottom + 34:.0f}" text-anchor="middle">{escape(axis)}</text>')
    out.append(f'<text class="small" x="20" y="{height - 12}">{escape(run.line())}</text>')
    return "\n".join([*out, "</svg>"]) + "\n"


def calls_plot(run):
    """What a call costs."""
    micro = lambda name, tool: (run.least(name, tool) or 0) / 1e3
    return plot(
        run,
        "call",
        "Cost of a system call",
        "Least of all samples of one run, the tools in turns. Shorter is better; the axis is logarithmic.",
        "microseconds for each operation (logarithmic)",
        micro,
        lambda _: "",
        None,
    )


def programs_plot(run):
    """What a program costs, as a multiple of what it takes natively."""
    return plot(
        run,
        "program",
        "Cost of whole programs",
        "Least of all rounds of one run, the tools in turns, start of the tool included; redis: for each request. Shorter is better.",
        "time as a multiple of the native time (logarithmic)",
        lambda name, tool: run.ratio(name, tool, "native"),
        lambda name: f"native {time(run.least(name, 'native'))}",
        1,
    )


def write_docs(run, directory):
    """Replaces the run in the documentation."""
    for kind, name, draw in (("call", "calls", calls_plot), ("program", "programs", programs_plot)):
        if run.names[kind]:
            (directory / f"performance-{name}.svg").write_text(draw(run), encoding="utf-8")
    page = directory / "PERFORMANCE.md"
    before, begin, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        sys.exit(f"figures.py: {page} has no {BEGIN} and {END}")
    page.write_text(f"{before}{BEGIN}\n{report(run)}{END}{after}", encoding="utf-8")


def main(arguments):
    """Reads the raw file, prints, writes."""
    if len(arguments) not in (1, 3) or arguments[1:2] not in ([], ["--docs"]):
        sys.exit("usage: figures.py RAW [--docs DIR]")
    with open(arguments[0], encoding="utf-8") as raw:
        run = Run(raw)
    print(report(run), end="")
    if len(arguments) == 3:
        write_docs(run, Path(arguments[2]))


if __name__ == "__main__":
    main(sys.argv[1:])
