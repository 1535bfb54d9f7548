# Shared by the scripts of this folder: source it, then use the functions below.
# Steps print one line each; what they run is logged and shown only when it fails.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
venv=$root/.venv
logs=$root/build/log
jobs=$(nproc)
mkdir -p "$logs"

say() { printf '%s: %s\n' "$(basename "$0")" "$*"; }
fail() { say "$*" >&2; exit 1; }

# quietly NAME COMMAND...: runs it with its output in build/log/NAME.log, shown if it fails.
quietly() {
  local name=$1 log=$logs/$1.log status=0
  shift
  "$@" >"$log" 2>&1 </dev/null || status=$?
  if ((status)); then
    head -n -40 "$log" | grep -E -m 40 'error|Error|FAILED|E:' >&2 || true
    say "$name failed (exit $status); the end of build/log/$name.log:" >&2
    tail -n 40 "$log" >&2
    exit "$status"
  fi
}

as_root() {
  if ((EUID == 0)); then
    "$@"
  elif command -v sudo >/dev/null; then
    sudo "$@"
  else
    fail "needs root to run: $*"
  fi
}

apt_install() {
  as_root env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=900 -y "$@"
}

# Installs the Debian packages that are missing; asks no network when none is.
install_packages() {
  local wanted missing
  wanted=$(sed 's/#.*//' scripts/packages.txt)
  # shellcheck disable=SC2086
  missing=$(comm -23 <(printf '%s\n' $wanted | sort) \
    <(dpkg-query -W -f '${db:Status-Status} ${Package}\n' $wanted 2>/dev/null |
      sed -n 's/^installed //p' | sort -u))
  [[ -z $missing ]] && return
  say "installing Debian packages:" $missing
  quietly apt-update apt_install update
  # shellcheck disable=SC2086
  quietly apt-install apt_install --no-install-recommends install $missing
}

# environment FOLDER REQUIREMENTS: a virtual environment with exactly those packages, in which
# `import tenfold` finds the package of the release build.
environment() {
  local folder=$1 requirements=$2 python=${TENFOLD_PYTHON:-/usr/bin/python3} stamp site
  stamp=$("$python" -V; cat "$requirements")
  if [[ $(cat "$folder/stamp" 2>/dev/null) != "$stamp" ]]; then
    say "creating $(basename "$folder")"
    rm -rf "$folder"
    quietly venv "$python" -m venv "$folder"
    quietly pip "$folder/bin/pip" install --disable-pip-version-check -r "$requirements"
    site=$("$folder/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
    printf '%s\n' "$root/build/release/python" >"$site/tenfold_build_tree.pth"
    ln -sfn "$root/build/release/bin/tenfold" "$folder/bin/tenfold"
    printf '%s\n' "$stamp" >"$folder/stamp"
  fi
}

# build PRESET: configures when the presets or the options changed, then builds.
build() {
  local preset=$1 folder=$root/build/$1 stamp
  shift
  stamp=$(cat CMakePresets.json; "$venv/bin/python" -V; echo "$venv" "$@")
  if [[ ! -f $folder/build.ninja || $(cat "$folder/stamp" 2>/dev/null) != "$stamp" ]]; then
    quietly "configure-$preset" cmake --preset "$preset" \
      -DPython_EXECUTABLE="$venv/bin/python" "$@"
    printf '%s\n' "$stamp" >"$folder/stamp"
  fi
  # Only a build that takes a while deserves a line.
  (sleep 2 &>/dev/null && kill -0 $$ && say "building $preset") &
  local announcer=$!
  quietly "build-$preset" cmake --build --preset "$preset" -j "$jobs"
  kill "$announcer" 2>/dev/null || true
  wait "$announcer" 2>/dev/null || true
}
