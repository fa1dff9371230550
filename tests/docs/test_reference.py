"""docs/reference says what the code says."""

from pathlib import Path

import pytest

from iot_agents.common.device_csv import COLUMNS
from rigel.options import options_of
from rigel.reference import PAGES
from rigel.settings import Settings

HOW_TO = Path(__file__).resolve().parents[2] / "docs" / "how-to"
REFERENCE = Path(__file__).resolve().parents[2] / "docs" / "reference"


@pytest.mark.parametrize("name", PAGES)
def test_a_reference_page_is_what_make_docs_writes(name: str) -> None:
    assert (REFERENCE / name).read_text(encoding="utf-8") == PAGES[name]()


def test_every_setting_is_explained() -> None:
    assert [option.key for option in options_of(Settings) if not option.doc] == []


def test_no_two_settings_share_a_variable() -> None:
    variables = [option.variable for option in options_of(Settings)]

    assert len(set(variables)) == len(variables)


def test_every_column_of_a_file_of_devices_is_explained() -> None:
    page = (HOW_TO / "provision-devices.md").read_text(encoding="utf-8")

    assert [column for column in COLUMNS if f"`{column}`" not in page] == []
