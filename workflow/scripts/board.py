"""Snakemake's adapter of the targets board and board_check: many exports on one page, or whether each may be there."""

from epochbench import networks
from epochbench.aggregate.board import find_exports, known_code, read_board
from epochbench.aggregate.settings import Settings
from epochbench.console import stage
from epochbench.errors import BenchmarkError
from epochbench.report.board import refusals, said_of, write_board
from epochbench.timing.provenance import code_digest

if "snakemake" in globals():
    with stage(snakemake.log[0]) as (console, _):
        known = known_code(snakemake.params.code, map(code_digest, networks.names()))
        exports = find_exports(snakemake.params.exports)
        if snakemake.params.folder and not exports:
            raise BenchmarkError(
                f"{', '.join(snakemake.params.exports)}: there is no export yet; make one with `make export`, "
                "and copy it there"
            )
        board = read_board(exports, Settings(**snakemake.params.settings), known, snakemake.threads)
        print(*refusals(board.refused), said_of(board), sep="\n", file=console)
        if snakemake.params.folder:
            write_board(board, snakemake.params.folder)
            print(f"Page: {snakemake.params.folder}/board.html", file=console)
        elif board.refused:
            raise BenchmarkError(
                f"{len(board.refused)} of {board.exports} exports were refused; the reasons stand above"
            )
