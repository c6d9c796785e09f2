"""The tables of the page in Markdown, ready to paste into an issue."""

from epochbench.aggregate.summary import Summary
from epochbench.report.accuracy_tables import accuracy_rows, accuracy_sentences
from epochbench.report.cell_tables import cell_rows
from epochbench.report.framework_tables import framework_ratio_rows
from epochbench.report.share import data_in_words


def render_markdown(summary: Summary) -> str:
    """Return the summary as Markdown: the answer, the dataset, and a row for every cell."""
    lines = ["# How much faster does it train?", "", *[line for line in summary.answer if line], ""]
    lines.append(f"Data: {_escape(data_in_words(summary))}.")
    labels = summary.labels
    rows = [{"cell": row["cell"], "in words": labels[row["cell"]]} | row for row in cell_rows(summary)]
    lines += ["", markdown_table(rows), ""]
    if ratios := framework_ratio_rows(summary):
        lines += [markdown_table(ratios), ""]
    if accuracies := accuracy_rows(summary):
        lines += [*accuracy_sentences(summary), "", markdown_table(accuracies), ""]
    return "\n".join(lines)


def markdown_table(rows: list[dict[str, str]]) -> str:
    """Return rows of texts as a Markdown table, their keys as its header."""
    header = list(rows[0])
    table = [header, ["---"] * len(header), *[list(row.values()) for row in rows]]
    return "\n".join("| " + " | ".join(map(_escape, row)) + " |" for row in table)


def _escape(text: str) -> str:
    """Keep a cell's text from ending the table's cell or becoming markup."""
    for character in "\\|<>`":
        text = text.replace(character, f"\\{character}")
    return " ".join(text.split())
