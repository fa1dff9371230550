"""The README's examples work as they are printed, against a started process."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import ClientSession

from rigel.demo.facts import Facts
from tests.support.rigel_process import Ports, rigel

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```bash\n(.*?)```", README, re.DOTALL)
STRICT = 'set -euo pipefail\ncurl() { command curl --fail-with-body "$@"; echo; }\n'


@asynccontextmanager
async def everything(directory: Path) -> AsyncIterator[Ports]:
    ports = Ports()
    async with (
        rigel("up", directory=directory, environment=ports.environment),
        ClientSession() as session,
    ):
        urls = [f"http://127.0.0.1:{n}" for n in (ports.broker, ports.agents, ports.subscribers)]
        await Facts(session, *urls).ready(30)
        yield ports


async def shell(script: str, ports: Ports) -> str:
    """Run a script as printed, but for the ports, which a test cannot count on."""
    for printed, free in ((1026, ports.broker), (4041, ports.agents), (4050, ports.subscribers)):
        script = script.replace(f"localhost:{printed}", f"localhost:{free}")
    process = await asyncio.create_subprocess_exec(
        "bash",
        "-c",
        STRICT + script,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()
    return output.decode()


async def test_the_examples_work_as_printed(tmp_path: Path) -> None:
    async with everything(tmp_path) as ports:
        output = await shell("\n".join(BLOCKS), ports)

    assert '"brightness":80' in output
    assert '"urn:ngsi-ld:Subscription:bright"' in output
    assert "rigel_agent_received_total" in output


def test_there_are_examples() -> None:
    assert len(BLOCKS) == 4


@pytest.mark.parametrize("target", sorted(set(re.findall(r"^make (\w+)|`make (\w+)`", README))))
def test_every_make_target_named_exists(target: tuple[str, str]) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")

    assert re.search(rf"^{''.join(target)}:", makefile, re.MULTILINE)


def pages() -> list[Path]:
    """Return our pages, without those of tools that keep their files here."""
    found = (page.relative_to(ROOT) for page in ROOT.rglob("*.md"))
    return sorted(page for page in found if not page.parts[0].startswith("."))


@pytest.mark.parametrize("name", pages(), ids=str)
def test_every_link_to_a_file_leads_to_one(name: Path) -> None:
    page = ROOT / name
    text = page.read_text(encoding="utf-8")
    targets = re.findall(r"\]\((?!https?:|#)([^)#]+)", text)

    assert [target for target in targets if not (page.parent / target).exists()] == []
