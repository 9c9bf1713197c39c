"""The command line: parses words, calls one function each, turns errors into messages and exit codes.

Everything is imported where it is used, so that `boostqa --help` stays quick.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Annotated, NoReturn

import typer

app = typer.Typer(
    name="boostqa",
    help="From raw seeds to the question-answer data that a language model lacks.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

ledger_app = typer.Typer(
    help="What a run has paid for: sums, a check of every byte, or all of it as JSON lines.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
app.add_typer(ledger_app, name="ledger")

annotate = typer.Typer(
    help="Field, level and grade of items on their own: fit and test a classifier, use it, measure difficulty.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
app.add_typer(annotate, name="annotate")

FilesArgument = Annotated[
    list[Path], typer.Argument(help="Labelled items, in any format of seeds.", metavar="FILE...")
]
TaxonomyOption = Annotated[
    Path | None,
    typer.Option(
        help="Your own disciplines and fields; default: the model's, else the built-in.", metavar="FILE"
    ),
]
CrosswalkOption = Annotated[
    str | None,
    typer.Option(help="The field column holds this benchmark's subjects, such as mmlu.", metavar="NAME"),
]
ConfidenceOption = Annotated[
    float, typer.Option(help="Probability under which a field is Other (0..1).", min=0, max=1)
]
RecipeArgument = Annotated[Path, typer.Argument(help="The recipe, a YAML file.", metavar="RECIPE")]
RunArgument = Annotated[Path, typer.Argument(help="The run folder.", metavar="RUN")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
SegmentOption = Annotated[str, typer.Option(help="Only this segment, such as round-1.")]
StageOption = Annotated[str, typer.Option(help="Only this stage.")]
ModelOption = Annotated[str, typer.Option(help="Only this entry of `models`.")]
OutcomeOption = Annotated[str, typer.Option(help="Only ok, truncated, refused, malformed or failed calls.")]


@app.command()
def init(
    folder: Annotated[Path, typer.Argument(help="Where to write.", metavar="[DIR]")] = Path("boostqa-start"),
) -> None:
    """Write a commented starter recipe and sample seeds."""
    from boostqa.starter import write_starter

    for path in write_starter(folder):
        print(path)
    print(f"next: boostqa check {folder / 'recipe.yaml'}, then boostqa run {folder / 'recipe.yaml'}")


@app.command()
def check(recipe: RecipeArgument, json: JsonOption = False) -> None:
    """Ask every endpoint for one answer: key, model, abilities, speed."""
    from boostqa.check import check_recipe

    raise typer.Exit(check_recipe(recipe, as_json=json))


@app.command()
def estimate(
    recipe: RecipeArgument,
    preview: Annotated[
        int, typer.Option(help="Pay for N items first and calibrate by them.", metavar="N")
    ] = 0,
    json: JsonOption = False,
) -> None:
    """Dry run: requests, tokens, money, hours and disk of each stage; pays nothing unless asked."""
    from boostqa.estimate import estimate_recipe

    estimate_recipe(recipe, preview=preview, as_json=json)


@app.command()
def run(
    recipe: RecipeArgument,
    out: Annotated[Path | None, typer.Option(help="Run folder; default: runs/NAME.", metavar="RUN")] = None,
    until: Annotated[str | None, typer.Option(help="Stop after this stage.", metavar="STAGE")] = None,
    redo: Annotated[
        str | None, typer.Option(help="Make this stage and all after it again.", metavar="STAGE")
    ] = None,
    plan: Annotated[
        Path | None, typer.Option(help="An edited plan.csv for the next round.", metavar="FILE")
    ] = None,
    reuse: Annotated[
        list[Path] | None, typer.Option(help="Use what this run has paid for.", metavar="RUN")
    ] = None,
    workers: Annotated[int, typer.Option(help="Worker processes; 1 works in this process.", min=1)] = 1,
    metrics: Annotated[
        int | None,
        typer.Option(help="Serve Prometheus metrics on 127.0.0.1; 0 takes a free port.", metavar="PORT"),
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="Only the summary and errors.")] = False,
    json: JsonOption = False,
) -> None:
    """Start, resume or grow a run."""
    from boostqa.display import Display
    from boostqa.errors import Stop
    from boostqa.recipe import load
    from boostqa.report import finish, write_report
    from boostqa.session import Options, run_session

    folder = out or Path("runs") / load(recipe).name
    options = Options(
        out=folder,
        until=until,
        redo=redo,
        plan=plan,
        reuse=list(reuse or []),
        workers=workers,
        metrics=metrics,
    )
    try:
        with Display(quiet=quiet) as display:
            done = run_session(recipe, options, display)
    except Stop as stop:
        with suppress(Exception):  # whatever stopped the run is what must be told
            print(f"so far: {write_report(folder)}", file=sys.stderr)
        raise stop
    finish(done, as_json=json)


@app.command()
def status(
    run: RunArgument,
    sources: Annotated[
        bool, typer.Option("--sources", help="Also what each source gave, and why the rest of it went.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Progress per stage, cost so far, rate, ETA."""
    from boostqa.report.status import print_status

    print_status(run, as_json=json, sources=sources)


@app.command()
def show(
    run: RunArgument,
    record: Annotated[str, typer.Argument(help="Id of a record.", metavar="ID")],
    json: JsonOption = False,
) -> None:
    """One record's whole story: seed, every prompt and reply, verdicts, fate."""
    from boostqa.report.lineage import print_story

    print_story(run, record, as_json=json)


@app.command()
def remove(
    run: RunArgument,
    seed: Annotated[list[str], typer.Option(help="Id of a seed; may be given several times.", metavar="ID")],
) -> None:
    """Take-down: revoke seeds and all their descendants from the data set."""
    from boostqa.report import finish
    from boostqa.session import remove_seeds

    finish(remove_seeds(run, seed))


@app.command()
def report(run: RunArgument) -> None:
    """Write report.html, which opens offline."""
    from boostqa.report import write_report

    print(write_report(run))


@ledger_app.command()
def stats(
    run: RunArgument,
    segment: SegmentOption = "",
    stage: StageOption = "",
    model: ModelOption = "",
    outcome: OutcomeOption = "",
    json: JsonOption = False,
) -> None:
    """Requests, tokens, money and outcomes per stage and model."""
    from boostqa.report.ledger import Where, print_stats

    where = Where(segment=segment, stage=stage, model=model, outcome=outcome)
    print_stats(run, where, as_json=json)


@ledger_app.command()
def verify(run: RunArgument, json: JsonOption = False) -> None:
    """Read every frame against its checksum; exit code 5 when something is damaged."""
    from boostqa.report.ledger import print_verdict

    raise typer.Exit(0 if print_verdict(run, as_json=json) else 5)


@ledger_app.command()
def export(
    run: RunArgument,
    out: Annotated[
        Path | None, typer.Option(help="A new file; default: standard output.", metavar="FILE")
    ] = None,
    segment: SegmentOption = "",
    stage: StageOption = "",
    model: ModelOption = "",
    outcome: OutcomeOption = "",
    record: Annotated[str, typer.Option(help="Only calls for this record.", metavar="ID")] = "",
) -> None:
    """Requests and replies as JSON lines."""
    from boostqa.report.ledger import Where, export_lines

    where = Where(segment=segment, stage=stage, model=model, outcome=outcome, record=record)
    count = export_lines(run, where, out)
    if out is not None:
        print(f"{count:,} lines in {out}")


@annotate.command("fit")
def annotate_fit(
    files: FilesArgument,
    out: Annotated[Path, typer.Option(help="Folder for the classifier.", metavar="MODEL")],
    taxonomy: TaxonomyOption = None,
    crosswalk: CrosswalkOption = None,
    encoder: Annotated[
        str | None, typer.Option(help="e5-small adds sentence vectors (an extra).", metavar="NAME")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Fit a classifier for field, level and grade to labelled files."""
    from boostqa.annotation.commands import fit_model
    from boostqa.report.annotation import tell_fit

    found = fit_model(files, out, taxonomy=taxonomy, benchmark=crosswalk, encoder=encoder)
    tell_fit(found, out, as_json=json)


@annotate.command("eval")
def annotate_eval(
    gold: Annotated[
        list[Path], typer.Option(help="Labelled items; may be given several times.", metavar="FILE")
    ],
    model: Annotated[Path, typer.Option(help="Folder that `annotate fit` wrote.", metavar="MODEL")],
    taxonomy: TaxonomyOption = None,
    crosswalk: CrosswalkOption = None,
    min_confidence: ConfidenceOption = 0.4,
    run: Annotated[
        Path | None, typer.Option(help="Keep the numbers in this run, for its report.", metavar="RUN")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Test a classifier against gold labels: accuracy, kappa, macro-F1, calibration, confusions, per language."""
    from boostqa.annotation.commands import eval_model
    from boostqa.report.annotation import keep, tell_eval

    found = eval_model(gold, model, taxonomy=taxonomy, benchmark=crosswalk, min_confidence=min_confidence)
    if run:
        keep(run, found)
    tell_eval(found, as_json=json)


@annotate.command("apply")
def annotate_apply(
    files: FilesArgument,
    model: Annotated[Path, typer.Option(help="Folder that `annotate fit` wrote.", metavar="MODEL")],
    out: Annotated[Path, typer.Option(help="JSON lines, or a .parquet file, to write.", metavar="FILE")],
    taxonomy: TaxonomyOption = None,
    min_confidence: ConfidenceOption = 0.4,
    ask: Annotated[
        int, typer.Option(help="Mark the N rows that a model's labels would help most.", min=0, metavar="N")
    ] = 0,
    json: JsonOption = False,
) -> None:
    """Label items with a fitted classifier; what it is not sure of is Other, with the reason."""
    from boostqa.annotation.commands import apply_model
    from boostqa.report.annotation import tell_apply

    found = apply_model(files, model, out, taxonomy=taxonomy, min_confidence=min_confidence, ask=ask)
    tell_apply(found, out, as_json=json)


@annotate.command("measure")
def annotate_measure(
    files: Annotated[
        list[Path],
        typer.Argument(help="JSON lines with id, solver, solved and tried.", metavar="FILE..."),
    ],
    out: Annotated[Path, typer.Option(help="JSON lines to write.", metavar="FILE")],
    slopes: Annotated[
        bool, typer.Option("--slopes", help="A slope for each solver (2PL); default: one for all (1PL).")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Measure difficulty with its standard error from who solved what, by an item-response fit."""
    from boostqa.annotation.commands import measure
    from boostqa.report.annotation import tell_measure

    tell_measure(measure(files, out, "2PL" if slopes else "1PL"), out, as_json=json)


@app.command()
def schema() -> None:
    """Print the JSON Schema of recipes, for editors."""
    import msgspec

    from boostqa.recipe import Recipe

    print(msgspec.json.format(msgspec.json.encode(Recipe.model_json_schema()), indent=2).decode())


@app.command()
def serve(
    fake: Annotated[
        bool, typer.Option("--fake", help="Serve the fake provider for tests, not a model.")
    ] = False,
    model_path: Annotated[
        Path | None, typer.Option(help="A GGUF file; default: the small packaged model.")
    ] = None,
    threads: Annotated[int | None, typer.Option(help="CPU threads.")] = None,
    slots: Annotated[int, typer.Option(help="Requests answered at once.")] = 4,
    port: Annotated[int, typer.Option(help="0 takes a free one.")] = 0,
) -> None:
    """Run the embedded model (or the fake provider) behind an OpenAI-compatible endpoint on 127.0.0.1."""
    if fake:
        from boostqa.llm.fake import serve_forever as serve_fake

        serve_fake(port=port)
        return
    from boostqa.llm.embedded import EmbeddedServer, serve_forever

    def announce(server: EmbeddedServer) -> None:
        print(f"{server.model} at {server.url}, key {server.api_key}; Ctrl-C ends it", flush=True)

    raise typer.Exit(serve_forever(model_path, threads=threads, slots=slots, port=port, announce=announce))


def main() -> NoReturn:
    """Entry point: runs a command; errors become one message on standard error and the exit code of their kind."""
    from boostqa.errors import BoostQAError

    try:
        app()
        code = 0
    except SystemExit as end:  # usage errors and --help end this way
        code = end.code if isinstance(end.code, int) else 0
    except BoostQAError as error:
        print(f"boostqa: {error}", file=sys.stderr)
        code = error.exit_code
    except KeyboardInterrupt:
        code = 130
    except Exception:  # noqa: BLE001 - the last place where words can be found for it
        import traceback

        traceback.print_exc()
        print("boostqa: this is a bug of boostqa; please report it with the lines above", file=sys.stderr)
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    # Threads that still work on a cancelled shard must not hold up the exit; nothing of theirs is needed.
    os._exit(code)


if __name__ == "__main__":
    main()
