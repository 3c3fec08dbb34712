from chunkykit.models import ledger_beside


def test_the_ledger_is_beside_the_index(tmp_path):
    assert ledger_beside(tmp_path / "i").path == tmp_path / "i.ledger.sqlite"


def test_beside_an_index_that_cannot_be_written_to_it_is_in_the_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("CHUNKYKIT_CACHE", str(tmp_path / "cache"))
    for name in ("a", "b"):
        (tmp_path / name / "i.ledger.sqlite").mkdir(parents=True)
    first = ledger_beside(tmp_path / "a" / "i").path
    assert first.parent == tmp_path / "cache" / "ledgers"
    assert ledger_beside(tmp_path / "a" / "i").path == first
    assert ledger_beside(tmp_path / "b" / "i").path != first, "each index has its own"
