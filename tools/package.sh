#!/usr/bin/env bash
# Builds into dist/ what is installed without a checkout: a wheel, and where there is dpkg, Debian packages.
#
#   tools/package.sh [wheel]      `wheel`: only that
#
# The packages are for the distribution that they are built on: they use its Python, and what shared libraries
# they need is read from the programs. Versions of Python packages are those of constraints.txt.
set -euo pipefail
cd "$(dirname "$0")/.."

readonly BUILD=$PWD/build/package PYTHON=/usr/bin/python3
readonly TREE=$BUILD/tree MAIN=$BUILD/main TESTBED=$BUILD/testbed
readonly ENVIRONMENT=opt/catenary
readonly LOG=build/package.log

die() {
    echo "catenary: $*" >&2
    exit 1
}

pip() {
    .venv/bin/pip --disable-pip-version-check "$@" >>"$LOG" 2>&1 || failed "pip $1 has failed"
}

failed() {
    [ -z "${CI:-}" ] || cat "$LOG" >&2
    die "$* (log: $LOG)"
}

version() {
    .venv/bin/python -c 'import catenary; print(catenary.__version__)'
}

wheel() {
    # What setuptools left of another build would be packed, too.
    rm -rf build/lib build/bdist.*
    pip wheel --no-deps --wheel-dir dist .
}

# Wheels of all that it needs, kept until other versions are asked for.
wheels() {
    local key
    key=$({ cat constraints.txt setup.cfg && "$PYTHON" --version; } | sha256sum | cut -c 1-16)
    WHEELS=$PWD/build/wheels/$key
    [ ! -d "$WHEELS" ] || return 0
    rm -rf build/wheels
    mkdir -p "$WHEELS.part"
    pip wheel --wheel-dir "$WHEELS.part" -c constraints.txt "$(echo dist/catenary-*.whl)[testbed]"
    rm "$WHEELS.part"/catenary-*
    mv "$WHEELS.part" "$WHEELS"
}

# An environment that knows the place where it will be, not where it was made.
settle() {
    local environment=$1
    find "$environment/bin" -type f ! -name catenary -delete
    rm -rf "${environment:?}"/{include,testing,share}
    # How it was compiled is nothing to those who run it; BPF objects keep their BTF.
    find "$environment/lib" -path '*/native/worker' -o -name libsplice.so | xargs strip --strip-debug
    find "$environment/lib" -name '*.bpf.o' -exec llvm-strip --strip-debug {} +
    sed -i "1s|^#!.*|#!/$ENVIRONMENT/bin/python|" "$environment/bin/catenary"
    sed -i '/^command = /d' "$environment/pyvenv.cfg"
}

# Written here, as nobody may write them later; they hold whatever the times of files become.
compile() {
    "$PYTHON" -m compileall -q -j 0 --invalidation-mode unchecked-hash -s "$1" -p / "$1/$ENVIRONMENT/lib" >/dev/null
}

# The environment, parted in two: what the services need, and what only the testbed needs.
environments() {
    local main=$MAIN/$ENVIRONMENT all=$BUILD/all
    "$PYTHON" -m venv --without-pip "$main" || die "$PYTHON can't make a virtual environment: apt install python3-venv"
    local offline=(install --no-compile --no-index --find-links "$WHEELS" --find-links dist)
    pip --python "$main/bin/python" "${offline[@]}" "catenary==$VERSION"
    cp -al "$main" "$all"
    pip --python "$all/bin/python" "${offline[@]}" "catenary[testbed]==$VERSION"
    local packages
    packages=$(cd "$all" && echo lib/python*/site-packages)
    cp -r topologies "$all/$packages/"
    install -d "$all/$packages/experiments"
    cp -r experiments/*.py experiments/demo "$all/$packages/experiments/"
    find "$all" -name __pycache__ -prune -exec rm -rf {} +
    mkdir -p "$TESTBED/$ENVIRONMENT"
    comm -13 <(files "$main") <(files "$all") | grep '^lib/' |
        tar -C "$all" --no-recursion -cf - -T - | tar -C "$TESTBED/$ENVIRONMENT" -xf -
    settle "$main"
    compile "$MAIN"
    compile "$TESTBED"
}

files() {
    (cd "$1" && find . ! -type d -printf '%P\n' | LC_ALL=C sort)
}

# What the operator sees of it beside the environment; docs/operations.md tells of each.
place() {
    local share=$MAIN/usr/share
    install -d "$MAIN"/{usr/bin,etc/catenary}
    ln -s "/$ENVIRONMENT/bin/catenary" "$MAIN/usr/bin/catenary"
    install -D -m 644 -t "$MAIN/lib/systemd/system" deploy/systemd/*.service
    install -D -m 644 deploy/completion/catenary.bash "$share/bash-completion/completions/catenary"
    install -D -m 644 -t "$share/zsh/vendor-completions" deploy/completion/_catenary
    install -D -m 644 -t "$share/fish/vendor_completions.d" deploy/completion/catenary.fish
    install -D -m 644 -t "$share/man/man1" deploy/man/catenary.1
    install -D -m 755 -t "$share/catenary" deploy/nics.sh
    install -D -m 644 -t "$share/catenary" docs/service.schema.json
    install -D -m 644 -t "$share/doc/catenary/examples" deploy/systemd/lb-main.env docs/service.yaml \
        deploy/prometheus/prometheus.yml deploy/prometheus/alerts.yml deploy/grafana/catenary.json
    install -D -m 755 -t "$TESTBED/usr/bin" deploy/debian/catenary-demo
}

# Of the distribution's Python, only the minor version that the compiled packages are for.
needed_python() {
    "$PYTHON" -c 'import sys; a, b = sys.version_info[:2]; print(f"python3 (>= {a}.{b}), python3 (<< {a}.{b + 1})")'
}

debian() {
    local tool
    for tool in dpkg-buildpackage dh; do
        command -v "$tool" >/dev/null || die "no \`$tool\`: run tools/install.sh package"
    done
    mkdir -p "$TREE/debian"
    cp deploy/debian/{control,rules,copyright,catenary.postrm} "$TREE/debian/"
    cp deploy/systemd/catenary.sysusers "$TREE/debian/catenary.sysusers"
    printf 'catenary (%s) unstable; urgency=medium\n\n  * See CHANGELOG.md.\n\n -- %s  %s\n' "$VERSION" \
        "$(sed -n 's/^Maintainer: //p' deploy/debian/control)" "$(date -R -r CHANGELOG.md)" >"$TREE/debian/changelog"
    wheels
    environments
    place
    local PYTHON_DEPENDS
    PYTHON_DEPENDS=$(needed_python)
    (export MAIN TESTBED PYTHON_DEPENDS && cd "$TREE" && dpkg-buildpackage --build=binary --no-sign --no-pre-clean) \
        >>"$LOG" 2>&1 || failed "the Debian packages could not be built"
    mv "$BUILD"/*.deb dist/
}

VERSION=$(version)
rm -rf "$BUILD" "$LOG" dist
mkdir -p build
wheel
case "${1:-}" in
wheel) ;;
'') ! command -v dpkg >/dev/null || debian ;;
*) die "usage: tools/package.sh [wheel]" ;;
esac
ls dist/*
