"""The pages are accurate: links have targets, commands and files exist, tables are complete."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from tests.support.pages import DECISIONS, OPERATED, PAGES, PRESENT, ROOT, make_commands, text_of
from tests.support.template import load_template

MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
SUITES = {path.parent.name for path in (ROOT / "tests").glob("*/test_*.py")}
LISTED = dict(re.findall(r"^([a-z][a-z.-]*):.*?## (.*)$", MAKEFILE, re.MULTILINE))
# The variables of every command, and those in the list.
VARIABLES = set(" ".join(re.findall(r"^KNOWN := \$\(sort ([A-Z ]+) \$", MAKEFILE, re.MULTILINE)).split())
VARIABLES |= set(re.findall(r"\b([A-Z][A-Z_]*)=", " ".join(LISTED.values())))

# What runs each command that a page shows, and the word to look for there. The operators' commands are run by
# tests/deployed/test_documented_commands.py, suites by `make test`.
RUN_BY = {
    "alarms": ("tests/template/test_agreement.py", "alarms"),
    "baseline": ("tests/unit/test_breaking_changes.py", "http_baseline"),
    "bench": ("tests/pipeline/test_cost.py", "from benchmarks import cost"),
    "bridge": ("tests/sam_local/conftest.py", "bridge"),
    "check": ("Makefile", "test: check"),
    "compare": ("tests/comparison/test_compare.py", "benchmarks.compare"),
    "console": ("Makefile", "run: setup console"),
    "dashboard": ("tests/operations/test_dashboard.py", "dashboard"),
    "dev": ("tests/deployed/test_dev.py", "dev"),
    "docs": ("tests/browser/test_docs.py", "docs_site"),
    "env": ("tests/concurrency/test_restarts.py", "environment"),
    "env.json": ("tests/deployed/test_commands.py", "env_json"),
    "flash-sale": ("tests/flash_sale/test_sales.py", "benchmarks.flash_sale"),
    "follow": ("tests/deployed/test_commands.py", "follow"),
    "fuzz": ("tests/deployed/test_fuzz.py", "fuzz"),
    "game-day": ("tests/concurrency/test_game_day.py", "game_day"),
    "help": ("tests/operations/test_commands.py", 'make("help")'),
    "load": ("tests/deployed/test_commands.py", "benchmarks.load"),
    "postman": ("tests/unit/test_contract_files.py", "postman"),
    "postman-run": ("tests/deployed/test_postman.py", "newman"),
    "prove": (".ci/run", "prove"),
    "receiver": ("tests/deployed/test_commands.py", "receiver"),
    "restore-import": ("tests/operations/test_restore_commands.py", "import"),
    "restore-tables": ("tests/operations/test_restore_commands.py", "tables"),
    "run": (".ci/run", "run PORT="),
    "scan": (".github/workflows/ci.yml", "make scan"),
    "scan-dependencies": (".github/workflows/scheduled.yml", "make scan-dependencies"),
    "schemas": ("tests/messages/test_codegen.py", "codegen"),
    "setup": ("Makefile", "check: setup"),
    "simulate": ("tests/simulation/test_schedules.py", "simulation"),
    "stop": (".ci/run", " stop "),
    "test": (".ci/run", "test"),
    "token": ("tests/deployed/test_commands.py", "tokens"),
    "traditional": ("tests/traditional_design/test_traditional.py", "benchmarks.traditional"),
}
# They write files for a person to check, or delete all that was made; the drill takes ten minutes.
NOT_RUN = {"clean", "format", "lock", "restore-drill", "screenshots"}

_FENCE = re.compile(r"^ *```.*?^ *```$", re.MULTILINE | re.DOTALL)


def prose_of(page: Path) -> str:
    """A page without its blocks of code."""
    return _FENCE.sub("", text_of(page))


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", prose_of(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_link_leads_to_a_file_and_to_a_heading_in_it(page: Path) -> None:
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", prose_of(page)):
        if re.match(r"https?:|mailto:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        if not file.exists() or (anchor and anchor not in anchors(file)):
            broken.append(target)
    assert broken == []


@pytest.mark.parametrize("page", PRESENT, ids=name_of)
def test_every_make_command_exists_with_its_variables(page: Path) -> None:
    for command in make_commands(page):
        name, *rest = command.removeprefix("-s ").split()
        assert name in LISTED.keys() | SUITES, command
        shown = " ".join(rest).partition(" #")[0]
        unquoted = re.sub(r"'[^']*'|\"[^\"]*\"", "", shown)
        assert set(re.findall(r"\b([A-Z][A-Z_]*)=", unquoted)) <= VARIABLES, command


def test_every_make_command_is_run_by_a_test() -> None:
    shown = {command.removeprefix("-s ").split()[0] for page in PRESENT for command in make_commands(page)}
    assert shown - OPERATED - SUITES - NOT_RUN == RUN_BY.keys()


@pytest.mark.parametrize("command", RUN_BY)
def test_what_runs_a_command_is_there(command: str) -> None:
    path, word = RUN_BY[command]
    assert word in text_of(ROOT / path)


@pytest.mark.parametrize("page", PRESENT, ids=name_of)
def test_every_file_that_is_named_exists(page: Path) -> None:
    tops = {path.name for path in ROOT.iterdir() if path.is_dir() and not path.name.startswith(".local")}
    named = re.findall(r"`([\w.-]+/[\w./-]*)`", prose_of(page))
    made = {line.strip("/") for line in (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()}
    missing = [
        name
        for name in named
        if name.partition("/")[0] in tops and name.strip("/") not in made and not (ROOT / name).exists()
    ]
    assert missing == []


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_it_names_no_host_that_packages_come_from(page: Path) -> None:
    assert re.findall(r"pypi\.org|pythonhosted\.org|npmjs\.(?:com|org)", text_of(page)) == []


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_requests_that_curl_sends_say_that_they_are_json(page: Path) -> None:
    joined = re.sub(r"\\\n|(?<=\S),\n", " ", text_of(page))
    sent = [line for line in joined.splitlines() if "curl " in line and "-d '{" in line]
    assert [line for line in sent if '-H "$JSON"' not in line] == []


class TestReadme:
    def test_it_is_short(self) -> None:
        assert len(text_of(ROOT / "README.md").split()) <= 900

    def test_it_begins_with_the_two_commands(self) -> None:
        code = [
            line.split("#")[0].strip()
            for line in text_of(ROOT / "README.md").splitlines()
            if line[:4] == "    "
        ]
        assert code[:2] == ["make run", "make test"]

    def test_it_shows_an_order_that_can_be_pasted(self) -> None:
        (example,) = re.findall(r"```sh\n(.*?)```", text_of(ROOT / "README.md"), re.DOTALL)
        assert example.count('curl -H "$TOKEN"') + example.count('curl -sH "$TOKEN"') >= 4
        assert not re.search(r"<\w+>", example)  # nothing to be typed in


class TestDecisions:
    def test_there_is_one_file_for_each(self) -> None:
        assert not (ROOT / "docs/decisions.md").exists(), "a decision is a file: see docs/decisions/README.md"
        assert [int(path.name[:4]) for path in DECISIONS] == list(range(1, len(DECISIONS) + 1))

    @pytest.mark.parametrize("path", DECISIONS, ids=lambda path: path.name[:4])
    def test_it_has_its_date_its_door_and_its_row(self, path: Path) -> None:
        head = re.match(
            r"# (\d{4})\. (.+)\n\n- Date: (\d{4}-\d\d-\d\d)\n"
            r"- Door: (one-way|two-way)(?:, .+)?\n- Part: (.+)\n\n\S",
            text_of(path),
        )
        assert head, "the form is that of its neighbours"
        number, title, date, door, part = head.groups()
        assert path.name.startswith(f"{number}-")
        _, _, table = text_of(ROOT / "docs/decisions/README.md").partition(f"\n## {part}\n")
        assert f"| [{number}]({path.name}) | {date} | {door} | {title} |" in table.partition("\n## ")[0]

    def test_one_that_replaces_another_is_named_by_it(self) -> None:
        replacing, replaced = (
            {
                (path.name, other)
                for path in DECISIONS
                for other in re.findall(rf"^{verb} \[\d{{4}}\]\(([\w.-]+)\)", text_of(path), re.MULTILINE)
            }
            for verb in ("Replaces", "Replaced by")
        )
        assert replacing == {(new, old) for old, new in replaced}


class TestOperatorsHowTos:
    """One for each task of a stack's operators, and consistent with what it names."""

    PAGES = ("deploy", "upgrade", "release", "restore", "scale-up-before-a-sale", "runbook", "game-day")

    @pytest.mark.parametrize("name", PAGES)
    def test_it_is_in_the_list_of_pages(self, name: str) -> None:
        assert f"(how-to/{name}.md)" in text_of(ROOT / "docs/README.md")

    @pytest.mark.parametrize("name", PAGES)
    def test_its_parameters_outputs_and_resources_are_in_the_template(self, name: str) -> None:
        template = load_template()
        known = {*template["Parameters"], *template["Outputs"], *template["Resources"]}
        words = re.findall(r"`([A-Z]\w+)(?:=[^`]*)?`", text_of(ROOT / f"docs/how-to/{name}.md"))
        ours = {word for word in words if word.endswith(self.OURS)}
        assert ours - known == set()

    OURS = (
        *(
            "Alarm",
            "Arn",
            "Concurrency",
            "Days",
            "Limit",
            "Name",
            "Queue",
            "Seconds",
            "Stripes",
            "Table",
            "Url",
        ),
        *("Shifting", "ShiftingType", "Firewall", "SnapStart", "AlarmEmail", "ApiGatewayLogRole"),
    )
    """Suffixes of our names. AWS's own names, such as metrics, end differently."""

    @pytest.mark.parametrize("page", PRESENT, ids=name_of)
    def test_deploy_sh_takes_the_options(self, page: Path) -> None:
        usage = re.findall(r"<<'USAGE'\n(.*?)\nUSAGE", text_of(ROOT / "deploy.sh"), re.DOTALL)[0]
        for line in re.findall(r"\./deploy\.sh ([^`\n#]*)", text_of(page)):
            assert set(re.findall(r"--[a-z-]+", line)) <= set(re.findall(r"--[a-z-]+", usage)), line


class TestReference:
    def test_commands_are_those_of_the_makefile(self) -> None:
        page = text_of(ROOT / "docs/reference/commands.md")
        described = set(re.findall(r"^\| `make ([a-z.-]+)` \|", page, re.MULTILINE))
        assert described - SUITES == LISTED.keys() - SUITES
        assert set(re.findall(r"`make ([a-z_]+)`", page)) >= SUITES

    def test_parameters_are_those_of_the_template(self) -> None:
        rows = re.findall(
            r"^\| `(\w+)` \| (?:`(.*?)`|\(empty\)) \|",
            text_of(ROOT / "docs/reference/parameters.md"),
            re.MULTILINE,
        )
        parameters = load_template()["Parameters"]
        assert rows == [(name, str(each["Default"])) for name, each in parameters.items()]

    def test_operations_are_those_of_the_contract(self) -> None:
        rows = re.findall(
            r"^\| `([A-Z]+ /\S*)` \| (\S+) \|", text_of(ROOT / "docs/reference/http.md"), re.MULTILINE
        )
        paths = yaml.safe_load((ROOT / "swagger.yaml").read_text(encoding="utf-8"))["paths"]
        operations = {
            f"{method.upper()} {path}": operation["security"][0]["accessToken"][0]
            for path, methods in paths.items()
            for method, operation in methods.items()
            if method in ("get", "post", "delete") and operation.get("security")
        }
        assert dict(rows) == operations

    def test_tables_are_those_of_the_template(self) -> None:
        rows = re.findall(
            r"^\| (\w+Table) \| `(\w+)` \| (?:`(\w+)`)? ?\|",
            text_of(ROOT / "docs/reference/items.md"),
            re.MULTILINE,
        )
        tables = {
            name: [key["AttributeName"] for key in each["Properties"]["KeySchema"]]
            for name, each in load_template()["Resources"].items()
            if each["Type"] == "AWS::DynamoDB::Table"
        }
        assert {name: [key for key in keys if key] for name, *keys in rows} == tables


class TestHooks:
    def test_hooks_run_the_tools_that_are_pinned_here(self) -> None:
        config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
        assert {repository["repo"] for repository in config["repos"]} == {"local"}
        hooks = [hook for repository in config["repos"] for hook in repository["hooks"]]
        assert {hook["language"] for hook in hooks} <= {"system", "pygrep"}
