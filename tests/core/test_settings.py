from pathlib import Path

import msgspec
import pytest

from feedgen.core.config import fields_of, read_settings
from feedgen.core.config_text import document, show
from feedgen.core.errors import SettingsError
from feedgen.core.settings import Settings, load_settings
from feedgen.core.settings_network import Service

DOCS = Path(__file__).parents[2] / "docs" / "settings.md"


def refused(**env: str) -> str:
    with pytest.raises(SettingsError) as caught:
        load_settings(env={f"FEEDGEN_{name}": value for name, value in env.items()})
    return str(caught.value)


def test_defaults_are_possible_values(tmp_path: Path) -> None:
    loaded = read_settings(Settings, env={}, folder=tmp_path)
    assert loaded.problems == ()
    # Given explicitly, each default must pass the same judgement.
    given = [
        f"{f.section}.{f.name}={','.join(f.default) if isinstance(f.default, tuple) else f.default}"
        for f in fields_of(Settings)
        if f.default is not None
    ]
    assert read_settings(Settings, env={}, folder=tmp_path, given=given).get() == loaded.get()


def test_every_key_is_documented() -> None:
    text = DOCS.read_text()
    for field in fields_of(Settings):
        assert field.key.doc, f"[{field.section}] {field.name} has no explanation"
        assert f"## [{field.section}]" in text and f"| `{field.name}` |" in text, (
            f"{field.name} is missing in docs/settings.md"
        )
    assert text == document(Settings), "run: feedgen config docs > docs/settings.md"


def test_every_number_has_limits() -> None:
    for field in fields_of(Settings):
        if field.type in (int, float):
            assert field.key.low is not None and field.key.high is not None, field.name
            assert field.key.unit, field.name


def test_did_follows_the_hostname() -> None:
    service = Service(hostname="feed.example.com")
    assert service.did == service.publisher_did == "did:web:feed.example.com"
    own = Service(
        hostname="feed.example.com", did="did:web:other.example", publisher_did="did:plc:abcdefghijklmnopqrstuvwx"
    )
    assert own.did == "did:web:other.example"
    assert own.publisher_did == "did:plc:abcdefghijklmnopqrstuvwx"


def test_derived_values_say_so() -> None:
    loaded = read_settings(Settings, env={"FEEDGEN_SERVICE_HOSTNAME": "feed.example.com"})
    assert loaded.origins["service.did"] == "derived"
    assert loaded.origins["service.hostname"] == "FEEDGEN_SERVICE_HOSTNAME"


def test_settings_are_frozen() -> None:
    settings = Settings()
    with pytest.raises(AttributeError):
        settings.store.dir = "elsewhere"  # type: ignore[misc]
    assert msgspec.structs.replace(settings, store=msgspec.structs.replace(settings.store, dir="x")).store.dir == "x"


def test_a_proxy_is_needed_when_asked_for() -> None:
    assert "proxy_url" in refused(IDENTITY_DID_WEB="proxy")
    assert load_settings(
        env={"FEEDGEN_IDENTITY_DID_WEB": "proxy", "FEEDGEN_IDENTITY_PROXY_URL": "http://10.0.0.1:3128"}
    )


def test_two_addresses_must_differ() -> None:
    assert "private_bind" in refused(SERVICE_PRIVATE_BIND="127.0.0.1:8090")
    assert load_settings(env={"FEEDGEN_SERVICE_PRIVATE_BIND": "127.0.0.1:0", "FEEDGEN_SERVICE_BIND": "127.0.0.1:0"})


@pytest.mark.parametrize("days", ["0", "251", "ninety"])
def test_retention_has_limits(days: str) -> None:
    assert "retention_days" in refused(STORE_RETENTION_DAYS=days)


@pytest.mark.parametrize("value", ["0", "2001", "many", "12.5"])
def test_a_ranking_parameter_has_limits(value: str) -> None:
    assert "a whole number from 1 to 2000 ratings" in refused(RANK_SEEDS=value)


def test_what_is_not_set_is_shown_as_a_comment(tmp_path: Path) -> None:
    file = tmp_path / "feedgen.toml"
    file.write_text(show(read_settings(Settings, env={"FEEDGEN_RANK_SEEDS": "50"}, folder=tmp_path)))
    assert "seeds = 50" in file.read_text() and "# edges is not set" in file.read_text()
    assert read_settings(Settings, env={}, folder=tmp_path).get().rank.changes() == {"seeds": 50}


def test_an_unknown_preset_is_told_what_there_is() -> None:
    assert 'Did you mean "foryou"' in refused(RANK_PRESET="foryuo")


def test_hosts_are_needed() -> None:
    assert "urls" in refused(JETSTREAM_URLS="")
    assert "wss://" in refused(JETSTREAM_URLS="https://jetstream.us-east.bsky.network")


def test_an_experiment_is_judged_before_anything_starts() -> None:
    def problems(*arms: str, name: str = "age") -> str:
        given = [f"experiment.name={name}", f"experiment.arms={','.join(arms)}"]
        loaded = read_settings(Settings, env={}, folder=Path("/nowhere"), given=given)
        return "\n".join(f"{problem.key} {problem.found}: {problem.allowed}" for problem in loaded.problems)

    assert problems("control 50%", "fresher 50% age_half_life=1.5 preset=foryou") == ""
    assert problems(name="") == ""
    assert "arms is empty" in problems()
    assert "name is empty" in problems("control 50%", name="")
    assert 'like "fresher 20% age_half_life' in problems("control fifty")
    assert 'like "fresher 20% age_half_life' in problems("control 0%")
    assert 'like "fresher 20% age_half_life' in problems("control 5% seeds=3 seeds=4")
    assert "shares of 110%" in problems("control 50%", "fresher 60%")
    assert "two arms of one name" in problems("control 50%", "control 20%")
    assert "fresher with seds: Known: age_half_life" in problems("fresher 20% seds=4")
    assert "fresher with seeds=0: Allowed: a whole number from 1 to 2000 ratings" in problems("fresher 20% seeds=0")
    assert "fresher with seeds=1.5" in problems("fresher 20% seeds=1.5")
    assert 'fresher with preset=cheep: Allowed: "default", "foryou", "cheap"' in problems("fresher 20% preset=cheep")
    assert "up to 24 small letters" in problems("control 50%", name="a/b")


def test_warnings_name_what_is_risky() -> None:
    assert any("localhost" in text for text in Settings().warnings())
    quiet = load_settings(env={"FEEDGEN_SERVICE_HOSTNAME": "feed.example.com"})
    assert quiet.warnings() == []
    direct = load_settings(env={"FEEDGEN_SERVICE_HOSTNAME": "feed.example.com", "FEEDGEN_IDENTITY_DID_WEB": "direct"})
    assert any("address" in text for text in direct.warnings())
