# SPDX-License-Identifier: GPL-2.0-or-later
"""The build front door: what it does again, what it leaves alone, and what it
says when something is missing. Works on a copy of the project; only the
pinned tarball is taken from the outside (DISTFILES or the cache)."""
import hashlib
import os
import pathlib
import pty
import re
import shutil
import subprocess

import pytest

TOP = pathlib.Path(__file__).resolve().parents[2]
DEAD_MIRROR = "http://127.0.0.1:9/debian"


def run(cwd, *command, **environ):
    """Runs a command, gives its exit status, output and error output."""
    env = {**os.environ, **{k: str(v) for k, v in environ.items()}}
    done = subprocess.run(command, cwd=cwd, env=env, text=True,
                          capture_output=True, timeout=300)
    return done.returncode, done.stdout.strip(), done.stderr.strip()


def refused(result, *words):
    """The command failed with one error line that has all these words."""
    status, _, messages = result
    errors = [line for line in messages.splitlines() if "error:" in line]
    assert status == 1, messages
    assert len(errors) == 1, messages
    for word in words:
        assert str(word) in errors[0]


def copy_project(to):
    shutil.copytree(TOP, to, symlinks=True, ignore=lambda folder, names: {
        n for n in names if n in ("build", "upstream", ".git", "__pycache__")
        and pathlib.Path(folder) == TOP or n == "__pycache__"})
    return to


@pytest.fixture(scope="session")
def tarball():
    status, path, messages = run(TOP, "scripts/fetch", "qemu")
    assert status == 0, messages
    return pathlib.Path(path)


@pytest.fixture(scope="module")
def grafted(tmp_path_factory, tarball):
    top = copy_project(tmp_path_factory.mktemp("project") / "copy")
    os.environ["DISTFILES"] = str(tarball.parent)
    status, _, messages = run(top, "scripts/graft")
    assert status == 0, messages
    return top


@pytest.fixture
def project(grafted):
    """The grafted copy; patches/ and upstream/ are as before afterwards."""
    saved = grafted.parent / "patches"
    shutil.copytree(grafted / "patches", saved)
    yield grafted
    shutil.rmtree(grafted / "patches")
    saved.rename(grafted / "patches")
    status, _, messages = run(grafted, "scripts/graft")
    assert status == 0, messages


@pytest.fixture
def dead_mirror(tmp_path):
    """An apt whose only Debian mirror does not answer."""
    if not shutil.which("apt-get"):
        pytest.skip("no apt-get here")
    release = subprocess.run(
        ". /etc/os-release; echo $VERSION_CODENAME", shell=True, text=True,
        capture_output=True, check=True).stdout.strip()
    (tmp_path / "lists/partial").mkdir(parents=True)
    (tmp_path / "sources.list").write_text(f"deb {DEAD_MIRROR} {release} main\n")
    (tmp_path / "apt.conf").write_text(
        f'Dir::Etc::sourcelist "{tmp_path}/sources.list";\n'
        f'Dir::Etc::sourceparts "-";\nDir::State::Lists "{tmp_path}/lists";\n')
    return tmp_path / "apt.conf"


def stamps(top):
    return {p: p.stat().st_mtime_ns for p in (top / "upstream").rglob("*")
            if p.is_file() and not {".gmem", ".pc"} & set(p.parts)}


def a_patch(top):
    """One patch of the series, and a C file or header that it alone touches."""
    series = [n for n in (top / "patches/series").read_text().splitlines()
              if n.endswith(".patch")]
    touched = {n: [line[6:] for line in (top / "patches" / n).read_text()
                   .splitlines() if line.startswith("+++ b/")] for n in series}
    everything = sum(touched.values(), [])
    for name in series:
        for path in touched[name]:
            if everything.count(path) == 1 and path.endswith((".c", ".h")):
                return top / "patches" / name, path
    raise AssertionError("no file belongs to one patch alone")


def change(patch, path, old, new):
    """Replaces the first line with this prefix in the patch's part for path."""
    head, part = patch.read_text().split(f"+++ b/{path}\n")
    lines = part.splitlines(keepends=True)
    at = next(i for i, line in enumerate(lines) if line.startswith(old))
    lines[at] = lines[at].rstrip("\n") + new + "\n"
    patch.write_text(head + f"+++ b/{path}\n" + "".join(lines))


# --- the graft ---

def test_links_make_the_component(project):
    component = project / "upstream/gmem"
    for link in component.iterdir():
        assert link.resolve() == (project / link.name).resolve()
    assert (project / "upstream/include/gmem").resolve() == \
        (project / "include/gmem").resolve()
    assert (project / "upstream/qapi/gmem.json").resolve() == \
        (project / "qapi/gmem.json").resolve()


def test_nothing_changed_touches_nothing(project):
    before = stamps(project)
    assert run(project, "scripts/graft") == (0, "", "")
    assert stamps(project) == before


def test_changed_patch_touches_only_its_file(project):
    patch, path = a_patch(project)
    before = stamps(project)
    change(patch, path, "+", " ")
    assert run(project, "scripts/graft")[0] == 0
    after = stamps(project)
    assert {p for p in after if after[p] != before.get(p)} == \
        {project / "upstream" / path}


def test_patch_that_does_not_apply_is_named_and_can_be_mended(project):
    patch, path = a_patch(project)
    good, before = patch.read_text(), stamps(project)
    change(patch, path, " ", "spoilt context")
    refused(run(project, "scripts/graft"), patch.name)
    refused(run(project, "scripts/graft"), patch.name)
    patch.write_text(good)
    assert run(project, "scripts/graft")[0] == 0
    assert stamps(project) == before


def test_missing_patch_is_named(project):
    with open(project / "patches/series", "a") as series:
        series.write("99-lost.patch\n")
    refused(run(project, "scripts/graft"), "99-lost.patch", "series")


def test_edit_in_no_patch_is_not_lost(project):
    patch, path = a_patch(project)
    file = project / "upstream" / path
    text = file.read_text()
    file.write_text(text + "/* an edit */\n")
    change(patch, path, "+", " ")
    refused(run(project, "scripts/graft"), path, "make refresh-patches")
    assert file.read_text() == text + "/* an edit */\n"
    file.write_text(text)


def test_patches_are_as_refresh_writes_them(project):
    patch, path = a_patch(project)
    before = {p: p.read_text() for p in (project / "patches").iterdir()}
    assert run(project, "scripts/refresh-patches")[0] == 0
    for p, text in before.items():
        assert p.read_text() == text, f"{p.name}: run make refresh-patches"


def test_refresh_writes_edits_into_the_right_patch(project):
    patch, path = a_patch(project)
    before = {p: p.read_text() for p in (project / "patches").iterdir()}
    file = project / "upstream" / path
    file.write_text(file.read_text() + "/* an edit */\n")
    (project / "upstream/VERSION").write_text("10.2.2-edited\n")
    refused(run(project, "scripts/refresh-patches"), "VERSION", "PATCH=")
    assert run(project, "scripts/refresh-patches", "90-more")[0] == 0
    changed = {p for p in before if p.read_text() != before[p]}
    assert changed == {patch, project / "patches/series"}
    assert "+/* an edit */" in patch.read_text()
    assert "+10.2.2-edited" in (project / "patches/90-more.patch").read_text()
    assert run(project, "scripts/graft") == (0, "", "")


# --- bad input ---

def test_wrong_sum_is_refused(tmp_path, tarball):
    (tmp_path / tarball.name).write_bytes(b"no tarball")
    digest = hashlib.sha256(tarball.read_bytes()).hexdigest()
    refused(run(TOP, "scripts/fetch", "qemu", DISTFILES=tmp_path,
                GMEM_CACHE=tmp_path / "cache"),
            tmp_path / tarball.name, "wrong sha256", digest)


def test_distfiles_need_no_network(tmp_path, tarball, dead_mirror):
    shutil.copy(tarball, tmp_path)
    assert run(TOP, "scripts/fetch", "qemu", DISTFILES=tmp_path,
               GMEM_CACHE=tmp_path / "cache", APT_CONFIG=dead_mirror) == \
        (0, str(tmp_path / tarball.name), "")


@pytest.mark.parametrize("what", ["qemu", "linux"])
def test_mirror_that_does_not_answer(tmp_path, dead_mirror, what):
    refused(run(TOP, "scripts/fetch", what, DISTFILES="",
                GMEM_CACHE=tmp_path / "cache", APT_CONFIG=dead_mirror),
            f"'{what}", "cannot be fetched", DEAD_MIRROR, "DISTFILES")


def test_unwritable_cache():
    refused(run(TOP, "./configure", GMEM_CACHE="/proc/none"),
            "/proc/none", "GMEM_CACHE")


def test_missing_compiler(project):
    refused(run(project, "./configure", CC="no-such-cc"), "no-such-cc", "gcc")


def test_wrong_target(project):
    refused(run(project, "./configure", "--target-list=pdp11-softmmu"),
            "--target-list", "pdp11-softmmu")


def test_unknown_option_of_upstream(project):
    refused(run(project, "./configure", "--enable-perpetual-motion"),
            "--enable-perpetual-motion")


def test_source_that_is_not_there(project):
    refused(run(project, "./configure", "--qemu-src=nowhere"), "nowhere")


def test_source_that_is_no_qemu(project, tmp_path):
    refused(run(project, "scripts/graft", f"--qemu-src={tmp_path}"),
            tmp_path, "no QEMU")


def test_installing_without_root(tmp_path):
    if not shutil.which("dpkg-query"):
        pytest.skip("no dpkg here")
    os.chmod(tmp_path.parent, 0o755)
    shutil.copytree(TOP / "scripts", tmp_path / "scripts")
    with open(tmp_path / "scripts/deps.list", "a") as deps:
        deps.write("odd no-such-package\n")
    command = ["scripts/deps", "--install", "odd"]
    if os.geteuid() == 0:
        if not shutil.which("setpriv"):
            pytest.skip("no setpriv here to be anyone but root")
        for part in (tmp_path, *tmp_path.parents[:2]):
            os.chmod(part, 0o755)
        command = ["setpriv", "--reuid=65534", "--regid=65534",
                   "--clear-groups", *command]
    refused(run(tmp_path, *command, HOME="/nonexistent"),
            "root", "no-such-package")


# --- scripts/deps ---

def test_deps_says_what_it_takes():
    status, said, _ = run(TOP, "scripts/deps", "--help")
    assert status == 0
    for word in "--install", "build", "features", "test", "docs", "long":
        assert word in said


@pytest.mark.parametrize("words", [
    ["tests"], ["build", "tests"], ["--instal", "build"], []], ids=" ".join)
def test_deps_knows_its_groups(words):
    refused(run(TOP, "scripts/deps", *words),
            *[w for w in words if w != "build"], "build features test")


# --- make demo ---

def recipe(*words, **environ):
    """What make would run"""
    env = {name: os.environ[name] for name in ("PATH", "HOME")} | environ
    return subprocess.run(
        ["make", "-n", *words], cwd=TOP, env=env, text=True, check=True,
        stdout=subprocess.PIPE).stdout.splitlines()


def test_the_host_of_the_demo_is_named_to_make_only():
    assert recipe("demo", HOST="x86_64-conda-linux-gnu") == \
        recipe("demo") == ["tests/demo 'emulated'"]
    assert recipe("demo", "HOST=local", HOST="other") == ["tests/demo 'local'"]


def test_the_demo_knows_its_hosts():
    refused(run(TOP, "tests/demo", "nowhere"), "nowhere", "emulated or local")


# Says what ninja, and what tests/kernel/build says, for a while
STEP = """
logs=LOGS
. scripts/step.sh
step QEMU sh -c 'echo "[1/1000] a"; echo "[150/1000] b"; sleep 3'
step kernel sh -c '
    echo "kernel stock (x86): 40 % (step 860 of about 2150)" >&2; sleep 3
    echo "kernel stock (x86): 70 % (step 1505 of about 2150)" >&2; sleep 3'
step payload sh -c 'echo its last words; exit 7'
echo not reached
"""


@pytest.fixture
def steps(tmp_path):
    return ["sh", "-ec", STEP.replace("LOGS", str(tmp_path))]


def assert_steps(said):
    assert re.search(r"^ok +\d+ s  QEMU\r?$", said, re.M)
    assert re.search(r"^ok +\d+ s  kernel\r?$", said, re.M)
    assert "its last words" in said and "FAILED        payload" in said
    assert "not reached" not in said


def test_long_steps_show_how_far_they_are_in_a_log(steps):
    status, said, _ = run(TOP, *steps)
    assert status == 1
    assert_steps(said)
    for line in "QEMU 15 %", "kernel 40 %", "kernel 70 %":
        assert re.search(rf"^ *\d+ s  {line}$", said, re.M), said


def test_long_steps_show_how_far_they_are_on_a_terminal(steps):
    terminal, end = pty.openpty()
    with subprocess.Popen(steps, cwd=TOP, stdout=end, stderr=end) as process:
        os.close(end)
        said = b""
        try:
            while data := os.read(terminal, 4096):
                said += data
        except OSError:  # how a terminal ends
            pass
    os.close(terminal)
    assert process.returncode == 1
    said = said.decode()
    assert_steps(re.sub(r".*\r(?!\n)", "", said))
    for words in "QEMU 15 %", "kernel 40 %", "kernel 70 %":
        assert f"  {words} " in said


# --- the documents ---

def test_the_table_of_patches_is_the_series():
    text = (TOP / "docs/patches.md").read_text()
    series = re.findall(r"^(\S+)\.patch$",
                        (TOP / "patches/series").read_text(), re.M)
    assert re.findall(r"^\| `(\d\d-\S+)` \|", text, re.M) == series


def test_links_lead_somewhere():
    for page in TOP / "README.md", *(TOP / "docs").iterdir():
        for link in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
            assert (page.parent / link).exists(), f"{page.name}: {link}"
