"""The state folder: what is kept, for whom, and what a crash leaves."""

import os
import stat
from datetime import UTC, datetime
from pathlib import Path

import pytest

from certagent.domain.orders import Account, PendingOrder
from certagent.domain.reports import Outcome, Trigger
from certagent.state import CertificateFolder, LastRun, RunRecord, State
from certagent.system.files import LockedError
from tests.certificates import Authority, Pair

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.fixture(scope="module")
def pairs() -> list[Pair]:
    """Six renewals of one certificate."""
    authority = Authority()
    return [authority.issue("traefik.internal") for _ in range(6)]


@pytest.fixture
def folder(tmp_path: Path) -> CertificateFolder:
    """A certificate's folder in a new state."""
    return State(tmp_path / "state").certificate("traefik")


def _again(tmp_path: Path) -> CertificateFolder:
    """As the next process finds it."""
    return State(tmp_path / "state").certificate("traefik")


def test_an_account_belongs_to_one_directory(tmp_path: Path) -> None:
    """Another directory, another account."""
    state = State(tmp_path / "state")
    account = Account(key_pem="PEM", url="https://ca/account/1")
    state.account("https://ca/directory").save(account)
    assert State(tmp_path / "state").account("https://ca/directory").load() == account
    assert state.account("https://other/directory").load() is None


def test_generations_are_numbered_and_kept(folder: CertificateFolder, tmp_path: Path, pairs: list[Pair]) -> None:
    """The next process finds the newest one; the same pair twice is one generation."""
    first = folder.add_generation(pairs[0].key_pem, pairs[0].chain_pem)
    assert folder.add_generation(pairs[0].key_pem, pairs[0].chain_pem) == first
    second = folder.add_generation(pairs[1].key_pem, pairs[1].chain_pem)
    assert (first.number, second.number) == (1, 2)
    assert _again(tmp_path).newest() == second
    assert _again(tmp_path).generation(1) == first
    assert folder.proven() is None
    assert "PRIVATE" not in repr(second)


def test_old_generations_go_when_a_newer_one_is_proven(
    folder: CertificateFolder, tmp_path: Path, pairs: list[Pair]
) -> None:
    """Three stay, and the proven one in any case."""
    for pair in pairs[:5]:
        folder.add_generation(pair.key_pem, pair.chain_pem)
    folder.set_proven(1)
    assert folder.numbers() == [1, 3, 4, 5]
    folder.set_proven(5)
    assert folder.numbers() == [3, 4, 5]
    proven = _again(tmp_path).proven()
    assert proven is not None
    assert proven.number == 5


def test_a_damaged_generation_is_none(folder: CertificateFolder, tmp_path: Path, pairs: list[Pair]) -> None:
    """Somebody's editor, or half a restore; also one that was read before, and one that is replaced."""
    generation = folder.add_generation(pairs[0].key_pem, pairs[0].chain_pem)
    assert folder.newest() == folder.newest() == generation
    chain = tmp_path / "state" / "certificates" / "traefik" / "generations" / "1" / "fullchain.pem"
    chain.write_bytes(b"nonsense")
    assert folder.newest() is None
    chain.write_bytes(pairs[1].chain_pem)
    restored = folder.newest()
    assert restored is not None
    assert restored.chain_pem == pairs[1].chain_pem
    chain.unlink()
    assert folder.newest() is None
    assert folder.add_generation(pairs[1].key_pem, pairs[1].chain_pem).number == 2


def test_the_order_under_way_survives(folder: CertificateFolder, tmp_path: Path) -> None:
    """With the key that its certificate will be for."""
    order = PendingOrder(
        url="https://ca/order/1",
        directory="https://ca/directory",
        identifiers=("traefik.internal",),
        key_type="ecdsa-p256",
        key_pem="PEM",
        placed_at=NOW,
    )
    folder.save_order(order)
    assert _again(tmp_path).pending_order() == order
    folder.forget_order()
    folder.forget_order()
    assert _again(tmp_path).pending_order() is None


def test_a_killed_run_is_found_with_its_id_and_generation(folder: CertificateFolder, tmp_path: Path) -> None:
    """Until it has ended."""
    run = RunRecord(
        id="run-1", certificate="traefik", trigger=Trigger.TIMER, step="deploy", started_at=NOW, generation=3
    )
    folder.save_run(run)
    assert _again(tmp_path).run() == run
    assert folder.last() is None
    folder.end_run(LastRun(outcome=Outcome.DONE, at=NOW))
    assert _again(tmp_path).run() is None
    assert _again(tmp_path).last() == LastRun(outcome=Outcome.DONE, at=NOW)


def test_a_certificate_has_one_owner(folder: CertificateFolder, tmp_path: Path) -> None:
    """The second one is told so at once; the lock goes with its holder."""
    with folder.lock("agent one, process 7"):
        with pytest.raises(LockedError, match="agent one, process 7"), _again(tmp_path).lock("two"):
            pass
        with State(tmp_path / "state").certificate("gateway").lock("two"):
            pass
    with _again(tmp_path).lock("two"):
        pass


def test_records_are_typed_and_an_unreadable_one_is_set_aside(tmp_path: Path) -> None:
    """A record of another version is none."""
    state = State(tmp_path / "state")
    state.write_record("contents", {"/etc/hosts": "127.0.0.1 localhost"})
    assert state.read_record("contents", dict[str, str]) == {"/etc/hosts": "127.0.0.1 localhost"}
    assert state.read_record("contents", list[int]) is None
    assert state.read_record("contents", dict[str, str]) is None
    assert (tmp_path / "state" / "records" / "contents.unreadable").is_file()


@pytest.mark.parametrize("name", ["..", "a/b", "", ".hidden", "a\0b"])
def test_a_name_cannot_lead_outside(tmp_path: Path, name: str) -> None:
    """Nor can it hide."""
    state = State(tmp_path / "state")
    with pytest.raises(ValueError, match="cannot be used as a name"):
        state.certificate(name)
    with pytest.raises(ValueError, match="cannot be used as a name"):
        state.write_record(name, {})


def test_nobody_else_can_read_any_of_it(folder: CertificateFolder, tmp_path: Path, pairs: list[Pair]) -> None:
    """Folders 0700, files 0600, whatever they were before."""
    folder.add_generation(pairs[0].key_pem, pairs[0].chain_pem)
    folder.set_proven(1)
    folder.end_run(LastRun(outcome=Outcome.DONE, at=NOW))
    with folder.lock("one"):
        pass
    State(tmp_path / "state").account("https://ca").save(Account(key_pem="PEM"))
    (tmp_path / "state").chmod(0o755)
    State(tmp_path / "state")
    for path in (tmp_path / "state", *(tmp_path / "state").rglob("*")):
        if not path.is_symlink():
            assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


def test_a_link_in_place_of_a_folder_is_refused(tmp_path: Path) -> None:
    """Nothing is written through it."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "state").symlink_to("elsewhere")
    with pytest.raises(NotADirectoryError):
        State(tmp_path / "state")
    assert not list((tmp_path / "elsewhere").iterdir())


def test_what_a_killed_process_had_not_finished_is_swept(folder: CertificateFolder, tmp_path: Path) -> None:
    """Half a file, half a generation, a link that was never put in place; and nothing else."""
    here = tmp_path / "state" / "certificates" / "traefik"
    folder.end_run(LastRun(outcome=Outcome.DONE, at=NOW))
    (here / ".order.json.new").write_text("PRIVATE KEY")
    (here / "generations" / ".1.new").mkdir()
    (here / "generations" / ".1.new" / "privkey.pem").write_text("PRIVATE KEY")
    (here / ".proven.new").symlink_to("generations")
    folder.sweep()
    assert sorted(path.name for path in here.iterdir()) == ["generations", "last.json"]
    assert list((here / "generations").iterdir()) == []


def test_a_renewal_waits_for_the_disk_where_a_key_could_be_lost(
    folder: CertificateFolder, pairs: list[Pair], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The order with its key, then the pair: two files and their folders. Nothing else has to be waited for."""
    synced: list[str] = []
    sync = os.fsync

    def fsync(descriptor: int) -> None:
        synced.append(Path(os.readlink(f"/proc/self/fd/{descriptor}")).name)
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    now = datetime(2026, 1, 1, tzinfo=UTC)
    for step in ("preflight", "order"):
        folder.save_run(RunRecord(id="1", certificate="a", trigger=Trigger.TIMER, step=step, started_at=now))
    assert synced == []
    folder.save_order(
        PendingOrder(url="u", directory="d", identifiers=("a",), key_type="ecdsa-p256", key_pem="key", placed_at=now)
    )
    assert [name for name in synced if name.startswith(".order")] == [".order.json.new"]
    assert len(synced) == 2
    generation = folder.add_generation(pairs[0].key_pem, pairs[0].chain_pem)
    assert sorted(synced[2:]) == ["fullchain.pem", "generations", "privkey.pem"]
    folder.forget_order()
    folder.set_proven(generation.number)
    folder.end_run(LastRun(outcome=Outcome.DONE, at=now))
    assert len(synced) == 5
