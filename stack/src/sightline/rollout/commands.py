"""``sightline models rollout``, ``sightline models ab`` and ``sightline models judge``."""

import getpass
import itertools
import os
import time
from pathlib import Path
from typing import Annotated

import typer

from sightline.broker import DEFAULT_PORT
from sightline.registry_service import DEFAULT_REGISTRY
from sightline.rollout.installation import Installation, find_installation
from sightline.services import default_home
from sightline_contract.errors import ConfigError

_WATCH_S = 2.0

HomeOption = Annotated[
    Path | None, typer.Option(help="Folder of the local stack.", envvar="SIGHTLINE_HOME", show_default=False)
]
ConfigOption = Annotated[
    Path | None, typer.Option(help="Job configuration (YAML) of an installation elsewhere.", show_default=False)
]
PortOption = Annotated[int, typer.Option(min=1, max=65535, help="Port of the local stack's broker.")]
RegistryOption = Annotated[
    str, typer.Option("--registry", help="An MLflow server's address.", envvar="SIGHTLINE_REGISTRY", show_default=False)
]
ModelOption = Annotated[str, typer.Option("--model", help="The registered model.")]
SignerOption = Annotated[Path, typer.Option(metavar="CERT", help="Certificate of 'sightline pki issue NAME --signer'.")]
KeyOption = Annotated[Path, typer.Option(help="Its private key; SIGHTLINE_SIGNER_PASSPHRASE opens a locked one.")]
RulesOption = Annotated[
    Path | None, typer.Option("--judge", metavar="RULES", help="Rules of the judge (YAML).", show_default=False)
]
ShadowOption = Annotated[str, typer.Option(help="How long the first ring runs it in the shadow; 0: not at all.")]
ExpiresOption = Annotated[str, typer.Option(help="How long nodes may take it into service.")]
StoreOption = Annotated[
    Path | None, typer.Option(help="Folder where parts lie by digest.  [default: HOME/bundles]", show_default=False)
]
SourceOption = Annotated[
    list[str] | None,
    typer.Option("--source", help="Where nodes fetch parts, repeatable.  [default: the local stack's]", show_default=False),
]
TargetOption = Annotated[
    list[str] | None, typer.Option("--target", help="Instead of what nodes report, repeatable.", show_default=False)
]
ClipOption = Annotated[
    Path | None, typer.Option(help="Video for the golden clip.  [default: the sample clip]", show_default=False)
]
SealOption = Annotated[
    Path | None,
    typer.Option("--seal", metavar="FOLDER", help="Encrypt parts; content keys are kept there.", show_default=False),
]
ThresholdsOption = Annotated[Path | None, typer.Option(help="YAML: min_score and by_class.", show_default=False)]
NoteOption = Annotated[str, typer.Option(help="Why, for the audit log.")]
AttestOption = Annotated[bool, typer.Option("--require-attestation", help="Leave out nodes that do not state their boot.")]

PolicyOption = Annotated[
    Path | None, typer.Option("--attest-policy", help="What nodes' statements must say (YAML).", show_default=False)
]
TrustOption = Annotated[
    Path | None, typer.Option("--trust", help="The nodes' authority, for these statements.", show_default=False)
]

rollout_app = typer.Typer(help="Bring a version to the fleet, ring by ring, judged by figures.", no_args_is_help=True)
ab_app = typer.Typer(help="Two versions side by side for a period.", no_args_is_help=True)


def add_rollout_commands(app: typer.Typer) -> None:
    """Add the groups and the judge to ``sightline models``."""
    app.add_typer(rollout_app, name="rollout")
    app.add_typer(ab_app, name="ab")
    app.command("judge")(judge_command)


@rollout_app.command("start")
def start_command(
    version: Annotated[str, typer.Argument(help="Number or alias in the registry, such as 7 or candidate.")],
    model: ModelOption,
    signer: SignerOption,
    key: KeyOption,
    baseline: Annotated[str, typer.Option(help="What it is compared with, and a rollback returns to.")] = "champion",
    canary: Annotated[str, typer.Option(help="Share of the fleet in the first ring.")] = "5%",
    rings: Annotated[str, typer.Option(help="All rings, in %; the first one is --canary's.")] = "5,25,100",
    shadow: ShadowOption = "1h",
    judge: RulesOption = None,
    expires: ExpiresOption = "30d",
    store: StoreOption = None,
    source: SourceOption = None,
    target: TargetOption = None,
    clip: ClipOption = None,
    seal: SealOption = None,
    thresholds: ThresholdsOption = None,
    require_attestation: AttestOption = False,
    attest_policy: PolicyOption = None,
    trust: TrustOption = None,
    note: NoteOption = "",
    registry: RegistryOption = DEFAULT_REGISTRY,
    home: HomeOption = None,
    config: ConfigOption = None,
    port: PortOption = DEFAULT_PORT,
) -> None:
    """Sign a version's bundles and have the judge roll it out; prints the rollout's id."""
    from sightline.rollout.asking import Asked, begin

    shares = ring_shares(canary, rings)
    asked = Asked(
        model, version, baseline, shares, shadow, judge, expires, store, source, target, clip, seal, thresholds, note,
        require_attestation, attest_policy, trust,
    )  # fmt: skip
    typer.echo(begin(asked, signer, key, registry, _home(home), find_installation(home, config, port)))


@rollout_app.command("status")
def status_command(
    rollout: Annotated[str | None, typer.Argument(help="Default: the newest.", show_default=False)] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Show it again every two seconds.")] = False,
    home: HomeOption = None,
    config: ConfigOption = None,
    port: PortOption = DEFAULT_PORT,
) -> None:
    """Show rings, nodes, figures, and why; works while the judge is down."""
    from rich.console import Console
    from rich.live import Live

    from sightline.rollout.asking import look_at
    from sightline.rollout.view import describe

    installation = find_installation(home, config, port)
    if not watch:
        Console().print(describe(look_at(installation, rollout)))
        return
    with Live(describe(look_at(installation, rollout)), auto_refresh=False) as live:
        while True:
            time.sleep(_WATCH_S)
            live.update(describe(look_at(installation, rollout)), refresh=True)


@rollout_app.command("list")
def list_command(home: HomeOption = None, config: ConfigOption = None, port: PortOption = DEFAULT_PORT) -> None:
    """Show all rollouts and comparisons."""
    from rich.console import Console

    from sightline.rollout.plan_topic import read_plans
    from sightline.rollout.view import list_rollouts
    from sightline_models.rollout.state import fold

    installation = find_installation(home, config, port)
    plans = read_plans(installation.config.kafka)
    states = {rollout_id: fold(installation.history.steps(rollout_id)) for rollout_id in plans}
    Console().print(list_rollouts(list(plans.values()), states))


@rollout_app.command("pause")
def pause_command(
    note: NoteOption = "", home: HomeOption = None, config: ConfigOption = None, port: PortOption = DEFAULT_PORT
) -> None:
    """Widen no ring until 'resume'; harm still rolls it back."""
    _want("pause", note, find_installation(home, config, port))


@rollout_app.command("resume")
def resume_command(
    note: NoteOption = "", home: HomeOption = None, config: ConfigOption = None, port: PortOption = DEFAULT_PORT
) -> None:
    """Go on after a pause, a person's or the judge's."""
    _want("run", note, find_installation(home, config, port))


@rollout_app.command("abort")
def abort_command(
    reason: Annotated[str, typer.Argument(help="For the audit log.")],
    home: HomeOption = None,
    config: ConfigOption = None,
    port: PortOption = DEFAULT_PORT,
) -> None:
    """End it: every node that was told anything goes back to the baseline."""
    _want("abort", reason, find_installation(home, config, port))


@rollout_app.command("keys")
def keys_command(
    keys: Annotated[Path, typer.Option("--keys", metavar="FOLDER", help="Where --seal keeps content keys.")],
    follow: Annotated[bool, typer.Option("--follow", help="Go on until SIGTERM or Ctrl-C.")] = False,
    attest_policy: PolicyOption = None,
    trust: TrustOption = None,
    home: HomeOption = None,
    config: ConfigOption = None,
    port: PortOption = DEFAULT_PORT,
) -> None:
    """Give keys of the newest rollout's sealed parts to nodes that came later, or announce another public key."""
    from sightline.rollout.asking import give_keys

    give_keys(find_installation(home, config, port), keys, attest_policy, trust, follow=follow)


@ab_app.command("start")
def ab_start_command(
    a: Annotated[str, typer.Argument(help="Number or alias of the one version: the fleet is left with it.")],
    b: Annotated[str, typer.Argument(help="And of the other one.")],
    model: ModelOption,
    signer: SignerOption,
    key: KeyOption,
    share: Annotated[str, typer.Option(help="Share of the fleet that serves B.")] = "50%",
    for_: Annotated[str, typer.Option("--for", help="How long, as in 1h or 7d, by the nodes' clocks.")] = "1h",
    judge: RulesOption = None,
    expires: ExpiresOption = "30d",
    store: StoreOption = None,
    source: SourceOption = None,
    target: TargetOption = None,
    clip: ClipOption = None,
    seal: SealOption = None,
    thresholds: ThresholdsOption = None,
    note: NoteOption = "",
    registry: RegistryOption = DEFAULT_REGISTRY,
    home: HomeOption = None,
    config: ConfigOption = None,
    port: PortOption = DEFAULT_PORT,
) -> None:
    """Serve B on a share of the fleet for a period, then A again; prints the comparison's id."""
    from sightline.rollout.asking import Asked, begin

    shares = (share_of(share),)
    asked = Asked(
        model, b, a, shares, "0", judge, expires, store, source, target, clip, seal, thresholds, note, for_=for_
    )  # fmt: skip
    typer.echo(begin(asked, signer, key, registry, _home(home), find_installation(home, config, port)))


@ab_app.command("report")
def ab_report_command(
    comparison: Annotated[str, typer.Argument(help="Its id.")],
    out: Annotated[Path, typer.Option(help="Folder of the report.", show_default=False)],
    home: HomeOption = None,
    config: ConfigOption = None,
    port: PortOption = DEFAULT_PORT,
) -> None:
    """Write a table and a plot per metric of both versions in the same windows."""
    from sightline.rollout.report import write_report

    for path in write_report(find_installation(home, config, port), comparison, out):
        typer.echo(path)


def judge_command(
    registry: RegistryOption = DEFAULT_REGISTRY,
    home: HomeOption = None,
    config: ConfigOption = None,
    port: PortOption = DEFAULT_PORT,
    attest_policy: PolicyOption = None,
    trust: TrustOption = None,
) -> None:
    """Run the judge in the foreground, until Ctrl-C."""
    import yaml

    from sightline.java import find_java
    from sightline.rollout.judge_process import main

    installation = find_installation(home, config, port)
    path = config or installation.judge.job_path
    if config is None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(yaml.safe_dump(installation.judge.job, sort_keys=False), encoding="utf-8")
    os.environ["JAVA_HOME"] = str(find_java().home)
    status = str(installation.judge.status_path)
    words = ["--config", str(path), "--status", status, "--registry", registry]
    words += ["--attest-policy", str(attest_policy)] if attest_policy else []
    words += ["--trust", str(trust)] if trust else []
    raise typer.Exit(main(words))


def _want(what: str, note: str, installation: Installation) -> None:
    from sightline.rollout.asking import ask
    from sightline_models.rollout.plan import Wanted

    typer.echo(ask(installation, Wanted(what), note, getpass.getuser()))


def _home(home: Path | None) -> Path:
    return (home or default_home()).absolute()


def share_of(text: str) -> float:
    """0.05 of ``5%`` or ``5``; raises ConfigError."""
    try:
        share = float(text.strip().removesuffix("%")) / 100
    except ValueError:
        share = 0
    if not 0 < share <= 1:
        raise ConfigError(f"{text!r}: is no share of the fleet: write it as in 5%")
    return share


def ring_shares(canary: str, rings: str) -> tuple[float, ...]:
    """Shares of the rings: the canary's, and those of ``rings`` that are larger; raises ConfigError."""
    first = share_of(canary)
    shares = (first, *(share for share in map(share_of, rings.split(",")) if share > first))
    if shares[-1] != 1 or any(later <= former for former, later in itertools.pairwise(shares)):
        raise ConfigError(f"--rings {rings}: must grow and end with 100, as in 5,25,100")
    return shares
