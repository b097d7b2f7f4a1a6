"""Which ratings a laptop takes when nobody named a source."""

from __future__ import annotations

from collections.abc import Mapping

from rich.console import Console

from fmrec import ratings
from fmrec.errors import DownloadError
from fmrec.settings import Deployment


def best(environ: Mapping[str, str], console: Console) -> str:
    """ml-100k when it is at hand or can be fetched, else the built-in sample, said aloud."""
    where = Deployment.of(environ)
    try:
        with console.status("looking for MovieLens 100K") as status:
            archive = ratings.obtain(
                "ml-100k",
                data_dir=where.data_dir,
                cache_dir=where.cache_dir,
                progress=lambda done, total: status.update(
                    f"downloading MovieLens 100K: {done / 1e6:.1f} of {total / 1e6:.1f} MB"
                ),
            )
    except DownloadError as error:
        console.print(f"[yellow]MovieLens 100K is not at hand:[/] {error}", highlight=False)
        console.print("[yellow]The built-in sample stands in: generated ratings, not real ones.[/]")
        return "sample"
    console.print(f"Ratings: MovieLens 100K, {archive}", highlight=False)
    return "ml-100k"
