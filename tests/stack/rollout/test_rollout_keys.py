"""``sightline models rollout keys`` on a real broker, registry and store: who gets keys of sealed parts. No judge runs."""

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest
import yaml
from cryptography.hazmat.primitives.asymmetric import ec
from rollout_place import Place, said, seen

from sightline.broker import Broker, BrokerConfig
from sightline.ports import free_port
from sightline.rollout import key_giver
from sightline.rollout.desk import OvertakenError
from sightline.rollout.giving import announce_keys, content_keys_of, wrap
from sightline.rollout.installation import find_installation
from sightline.rollout.key_giver import Giver
from sightline.rollout.key_topic import KeyDesk, read_keys
from sightline.rollout.plan_topic import PlanDesk
from sightline.topic_content import read_topic
from sightline_contract.events import AuditKind, AuditRecord
from sightline_contract.rollout import ModelStatus
from sightline_contract.sealing import key_name
from sightline_contract.topics import AUDIT
from sightline_edge.config import Tls
from sightline_edge.rollout.attestation import NodeIdentity, SoftwareAttestor
from sightline_edge.rollout.unsealing import public_pem, unwrap_key
from sightline_edge.security.authority import Authority
from sightline_models.rollout.keys import NodeKeys
from sightline_models.rollout.plan import RolloutPlan
from sightline_models.rollout.steps import StepName
from sightline_models.sealing import content_key_in

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

WAIT_S = 60


def new_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def tells(node: str, key: ec.EllipticCurvePrivateKey | str | None, later_us: int = 0, **fields: object) -> ModelStatus:
    """A report that announces a public key."""
    public = public_pem(key) if isinstance(key, ec.EllipticCurvePrivateKey) else key
    (status,) = seen(node)
    times = {"from_us": status.from_us + later_us, "reported_us": status.reported_us + later_us}
    return status.model_copy(update={"public_key": public, **times, **fields})


class SealedPlace(Place):
    """A place with a sealed rollout to which the node 'a' was there in time."""

    first: ec.EllipticCurvePrivateKey
    started: RolloutPlan | None = None

    @property
    def folder(self) -> Path:
        return self.home / "keys"

    def start_sealed(self, *words: str, later_us: int = 0) -> RolloutPlan:
        self.first = new_key()
        self.hear(tells("a", self.first, later_us))
        result = self.start("rollout", "start", "2", "--seal", str(self.folder), *words)
        assert result.exit_code == 0, result.exception
        return self.plans()[-1]

    def begin(self) -> RolloutPlan:
        """What a start does, with the bundles of the first one: they take a while."""
        if self.started is None:
            self.started = self.start_sealed()
            return self.started
        self.first = new_key()
        self.hear(status := tells("a", self.first))
        now_us = time.time_ns() // 1000
        plan = self.started.model_copy(update={"rollout_id": f"blobs-{now_us}", "started_us": now_us})
        made = wrap(plan.rollout_id, content_keys_of(plan, self.folder), [status], None, None)
        announce = partial(announce_keys, plan, made.keys, made.reasons, "ada", now_us, self.kafka)
        PlanDesk(self.kafka).begin(plan, made.keys, announce)
        return plan

    def given_keys(self) -> dict[str, NodeKeys]:
        return read_keys(self.kafka).get(self.plans()[-1].rollout_id, {})

    def give(self, *words: str) -> list[str]:
        result = self.run("rollout", "keys", "--keys", str(self.folder), *words)
        assert result.exit_code == 0, result.exception
        return result.stdout.splitlines()

    def opened_by(self, node: str, key: ec.EllipticCurvePrivateKey) -> bool:
        """Whether both content keys reach the node."""
        given = self.given_keys()[node]
        versions = {"2": given.candidate, "1": given.baseline}
        return all(
            unwrap_key(wrapped, key, node) == content_key_in(self.folder / f"blobs-{version}.key")
            for version, wrapped in versions.items()
        )

    def given(self, rollout_id: str) -> list[AuditRecord]:
        """Audit records of keys."""
        found = (AuditRecord.model_validate_json(m.value() or b"") for m in read_topic(self.broker.bootstrap, AUDIT.name))
        return [each for each in found if each.kind == AuditKind.KEY_GIVEN and each.details["rollout_id"] == rollout_id]

    def giver(self, told: list[str]) -> Giver:
        installation = find_installation(self.home, None, self.broker.config.port)
        return Giver(installation, self.folder, None, "ada", told.append, told.append)


@pytest.fixture(scope="module")
def broker_place(tmp_path_factory: pytest.TempPathFactory, jars: object) -> Iterator[SealedPlace]:
    home = tmp_path_factory.mktemp("sealed")
    with Broker(BrokerConfig(home / "broker", free_port())) as broker:
        yield SealedPlace(home, broker)


@pytest.fixture
def place(broker_place: SealedPlace) -> SealedPlace:
    broker_place.empty()
    return broker_place


def until(done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_a_start_gives_keys_to_nodes_that_are_there_and_forgets_those_of_rollouts_before(place: SealedPlace) -> None:
    former = place.start_sealed()
    assert set(place.given_keys()) == {"a"}
    place.record(former, StepName.STARTED, StepName.COMPLETED)
    place.hear(*seen("mute"), tells("odd", "no key at all", 1))
    plan = place.start_sealed(later_us=1)
    assert plan.sealed
    assert set(read_keys(place.kafka)) == {plan.rollout_id}
    assert set(place.given_keys()) == {"a"}
    assert place.opened_by("a", place.first)
    assert {path.name for path in place.folder.iterdir()} == {"blobs-1.key", "blobs-2.key"}
    (record,) = place.given(plan.rollout_id)
    assert (record.node_id, record.details["public_key"]) == ("a", key_name(public_pem(place.first)))


def test_a_node_that_came_later_gets_its_key_also_when_the_rollout_is_over(place: SealedPlace) -> None:
    plan = place.begin()
    assert place.give() == [f"{plan.rollout_id}: all nodes that announce a public key have theirs"]
    place.record(plan, StepName.STARTED, StepName.COMPLETED)
    late = new_key()
    place.hear(tells("late", late), *seen("mute"))
    shown = place.run("rollout", "status").stdout
    assert "keys: 1 nodes wait for theirs: sightline models rollout keys --keys FOLDER" in shown
    assert "keys: 1 nodes announce no public key: set models.key there" in shown
    assert place.give() == [f"late: was given its key of {plan.rollout_id}: the node had none"]
    assert place.opened_by("late", late)
    assert "wait for theirs" not in place.run("rollout", "status").stdout
    assert {record.node_id for record in place.given(plan.rollout_id)} == {"a", "late"}


def test_a_key_that_changed_is_noticed_and_given_anew_once(place: SealedPlace) -> None:
    plan = place.begin()
    assert place.given_keys()["a"].serial == 0
    second = new_key()
    place.hear(tells("a", second, 1))
    assert place.give() == [f"a: was given its key of {plan.rollout_id}: the node announces another public key"]
    assert place.opened_by("a", second)
    assert place.given_keys()["a"].serial == 1
    assert "all nodes" in place.give()[0]
    assert [record.reason for record in place.given(plan.rollout_id)] == [
        "the node had none",
        "the node announces another public key",
    ]


def test_two_that_give_at_once_give_every_node_one_key(place: SealedPlace, monkeypatch: pytest.MonkeyPatch) -> None:
    """Protection: KeyDesk's transaction; without its fence nodes are given two keys under one serial."""
    monkeypatch.setattr(key_giver, "_AT_ONCE", 5)  # so that they get into each other's way
    plan = place.begin()
    place.hear(*(tells(f"late-{number}", new_key()) for number in range(40)))
    told: list[list[str]] = [[], []]
    with ThreadPoolExecutor() as pool:
        for done in [pool.submit(place.giver(each).once) for each in told]:
            done.result(WAIT_S)
    lines = [line.partition(":")[0] for each in told for line in each if "was given" in line]
    assert sorted(lines) == sorted(f"late-{number}" for number in range(40))
    assert {keys.serial for node, keys in place.given_keys().items() if node != "a"} == {1}
    assert len({record.record_id for record in place.given(plan.rollout_id)}) == 41


def test_of_two_at_the_desk_the_former_writes_nothing_more(place: SealedPlace) -> None:
    place.begin()
    keys = place.given_keys()["a"].model_copy(update={"serial": 5})
    announced: list[str] = []
    former, later = KeyDesk(place.kafka), KeyDesk(place.kafka)
    with pytest.raises(OvertakenError):
        former.give([keys], lambda: announced.append("former"))
    later.give([keys.model_copy(update={"serial": 4})], lambda: announced.append("later"))
    assert place.given_keys()["a"].serial == 4
    assert announced == ["later"]


def test_a_key_whose_record_cannot_be_written_is_not_given(place: SealedPlace) -> None:
    place.begin()

    def refuses() -> None:
        raise OSError("no record")

    desk = KeyDesk(place.kafka)
    with pytest.raises(OSError, match="no record"):
        desk.give([place.given_keys()["a"].model_copy(update={"serial": 9})], refuses)
    assert place.given_keys()["a"].serial == 0
    desk.give([place.given_keys()["a"].model_copy(update={"serial": 1})], lambda: None)
    assert place.given_keys()["a"].serial == 1


def test_without_the_right_content_keys_nothing_is_given_and_one_line_says_why(place: SealedPlace, tmp_path: Path) -> None:
    plan = place.begin()
    place.hear(tells("late", new_key()))
    wrong = place.run("rollout", "keys", "--keys", str(tmp_path / "nowhere"))
    path = tmp_path / "nowhere" / "blobs-2.key"
    assert said(wrong) == f"{path}: is not there: give the folder that {plan.rollout_id} was started with, --seal FOLDER"
    assert not path.parent.exists()
    for version in ("1", "2"):
        content_key_in(tmp_path / f"blobs-{version}.key")
    another = place.run("rollout", "keys", "--keys", str(tmp_path))
    assert said(another).startswith(f"{tmp_path}/blobs-2.key: is not the key that {plan.rollout_id} is sealed with")
    assert set(place.given_keys()) == {"a"}


def test_an_open_rollout_has_no_keys_to_give(place: SealedPlace) -> None:
    place.hear(*seen("a"))
    assert place.start("rollout", "start", "2").exit_code == 0
    result = place.run("rollout", "keys", "--keys", str(place.folder))
    assert said(result).endswith("its parts are not sealed, so no node needs a key")


def test_one_that_follows_gives_keys_as_nodes_come_and_ends_when_it_is_told_to(place: SealedPlace) -> None:
    plan = place.begin()
    words = ["models", "rollout", "keys", "--keys", str(place.folder), "--follow"]
    at = ["--home", str(place.home), "--port", str(place.broker.config.port)]
    process = subprocess.Popen(
        [sys.executable, "-m", "sightline", *words, *at], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        late, later, second = new_key(), new_key(), new_key()
        place.hear(tells("late", late))
        until(lambda: "late" in place.given_keys())
        # Dated before all that it has read: a clock may be behind.
        place.hear(tells("later", later, -3_600_000_000), tells("a", second, 1))
        until(lambda: "later" in place.given_keys() and place.given_keys()["a"].serial == 1)
        assert place.opened_by("late", late)
        assert place.opened_by("later", later)
        assert place.opened_by("a", second)
    finally:
        process.send_signal(signal.SIGTERM)
        out, errors = process.communicate(timeout=WAIT_S)
    assert process.returncode == 0, errors
    assert sorted(line.partition(":")[0] for line in out.splitlines()) == ["a", "late", "later"]
    assert f"a: was given its key of {plan.rollout_id}: the node announces another public key" in out.splitlines()
    assert not errors


def test_one_that_follows_takes_the_next_rollout_and_tells_what_it_cannot_do_once(place: SealedPlace) -> None:
    plan = place.begin()
    told: list[str] = []
    to_stop = threading.Event()
    giver = place.giver(told)
    follower = threading.Thread(target=giver.follow, args=(to_stop, 0.1))
    follower.start()
    try:
        place.hear(tells("odd", "no key at all"))
        until(lambda: any(line.startswith("odd: gets no key") for line in told))
        place.record(plan, StepName.STARTED, StepName.COMPLETED)
        following = place.begin()
        place.hear(tells("late", new_key()))
        until(lambda: "late" in read_keys(place.kafka).get(following.rollout_id, {}))
        until(lambda: f"late: was given its key of {following.rollout_id}: the node had none" in told)
    finally:
        to_stop.set()
        follower.join(WAIT_S)
    assert len([line for line in told if line.startswith("odd")]) == 1


def test_two_devices_of_one_name_do_not_make_a_follower_give_keys_with_every_report(place: SealedPlace) -> None:
    """Protection: _EACH_NODE_S; without it each report brings a key."""
    place.begin()
    told: list[str] = []
    to_stop = threading.Event()
    follower = threading.Thread(target=place.giver(told).follow, args=(to_stop, 0.1))
    follower.start()
    try:
        for number in range(6):
            place.hear(tells("a", new_key(), number + 1))
            if number == 0:
                until(lambda: len(told) == 1)
        place.hear(tells("late", new_key(), 10))
        until(lambda: len(told) == 2)
    finally:
        to_stop.set()
        follower.join(WAIT_S)
    assert [line.partition(":")[0] for line in told] == ["a", "late"]


def test_where_statements_are_required_only_a_key_that_one_names_gets_content_keys(place: SealedPlace) -> None:
    trust = place.home / "pki" / "ca.pem"
    policy = place.home / "policy.yaml"
    policy.write_text(yaml.safe_dump({"attestors": ["software"], "max_age_s": 60}))
    vouched = ["--attest-policy", str(policy), "--trust", str(trust)]
    place.hear(tells("a", new_key()))
    unvouched = place.start("rollout", "start", "2", "--seal", str(place.folder), "--require-attestation")
    assert said(unvouched).startswith("--seal with --require-attestation: say which statements are good")
    plan = place.start_sealed("--require-attestation", *vouched)
    assert place.given_keys() == {}  # 'a' makes no statement
    assert said(place.run("rollout", "keys", "--keys", str(place.folder))).startswith(
        f"rollout {plan.rollout_id} requires attestation: say which statements are good"
    )
    own, neighbours = new_key(), new_key()
    for node, stated in (("honest", own), ("robbed", own), ("mute", None)):
        if not (folder := place.home / node).exists():
            Authority(place.home / "pki", None).issue(node, place.home, datetime.now(UTC))
        tls = Tls(ca=folder / "ca.pem", certificate=folder / "node.pem", key=folder / "node.key")
        now_us = round(datetime.now(UTC).timestamp() * 1e6)
        attestor = SoftwareAttestor(NodeIdentity(node, tls, public_key=public_pem(stated) if stated else None))
        about = {"reported_us": now_us, "attestation": attestor.statement("", now_us)}
        place.hear(tells(node, neighbours if node == "robbed" else own, **about))
    result = place.run("rollout", "keys", "--keys", str(place.folder), *vouched)
    assert set(place.given_keys()) == {"honest"}
    assert "mute: gets no key: mute: attestation: does not name its sealing key" in result.stderr
    assert "robbed: gets no key: robbed: attestation: the sealing key that it announced is not the one" in result.stderr


def test_keys_of_five_thousand_nodes_begin_with_their_rollout(place: SealedPlace) -> None:
    """Protection: keys are messages of their own; in the plan they were 2.6 MB, and a broker takes 1 MB."""
    plan = place.begin()
    place.record(plan, StepName.STARTED, StepName.COMPLETED)
    one = place.given_keys()["a"]
    larger = plan.model_copy(update={"rollout_id": "city", "started_us": plan.started_us + 1})
    nodes = [one.model_copy(update={"rollout_id": "city", "node_id": f"camera-{number:05d}"}) for number in range(5000)]
    PlanDesk(place.kafka).begin(larger, nodes)
    assert place.plans()[-1].rollout_id == "city"
    assert {keys.node_id for keys in read_keys(place.kafka)["city"].values()} == {keys.node_id for keys in nodes}
