# shellcheck shell=bash
# deps.sh -- the Debian packages that building, testing and linting need. Sourced by ./dev.

declare -A packages=(
    [build]="gcc libc6-dev cmake ninja-build pkg-config ccache
        librdkafka-dev libpq-dev libcurl4-openssl-dev libjansson-dev libyaml-dev libuv1-dev
        libmicrohttpd-dev libssl-dev libpcre2-dev"
    [run]="postgresql python3 ca-certificates"
    [test]="libcmocka-dev postgresql-15-pgtap libtap-parser-sourcehandler-pgtap-perl
        python3-pytest python3-psycopg2 kcat faketime
        json-schema-test-suite libtest-json-schema-acceptance-perl"
    [lint]="clang-format clang-tidy cppcheck shellcheck git python3 python3-venv"
    [fuzz]="clang libclang-rt-14-dev llvm"
    [kafka]="openjdk-17-jre-headless maven"
    [node]="nodejs npm"
    [infra]="patroni python3-etcd etcd-server iproute2 iptables"
)

# deps GROUP...: installs what is missing of these groups, and is silent when nothing is.
deps() {
    local group package missing=()
    for group in "$@"; do
        [ -n "${packages[$group]:-}" ] || die "there is no group of packages '$group'; groups: ${!packages[*]}"
        for package in ${packages[$group]}; do
            installed "$package" || missing+=("$package")
        done
    done
    [ ${#missing[@]} -gt 0 ] || return 0

    command -v apt-get >/dev/null || die "this is no Debian; install what these packages hold: ${missing[*]}"
    local root=()
    if [ "$(id -u)" != 0 ]; then
        command -v sudo >/dev/null || die "install these packages as root: apt-get install ${missing[*]}"
        root=(sudo)
    fi
    say "installing: ${missing[*]}"
    local log
    log=$(mktemp)
    if ! apt "${root[@]}" -- update >"$log" 2>&1 || ! apt "${root[@]}" -- install "${missing[@]}" >>"$log" 2>&1; then
        tail -n 30 "$log" >&2
        rm -f "$log"
        die "apt-get failed; the missing packages are: ${missing[*]}"
    fi
    rm -f "$log"
}

# apt [sudo] -- update | install PACKAGE...
apt() {
    local root=()
    while [ "$1" != -- ]; do
        root+=("$1")
        shift
    done
    shift
    local verb=$1
    shift
    "${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q -y --no-install-recommends "$verb" "$@" </dev/null
}

# Whether a package, or one that provides it, is installed.
installed() {
    local status
    status=$(dpkg-query -W -f='${db:Status-Abbrev}' "$1" 2>/dev/null) || return 1
    [ "$status" = "ii " ]
}
