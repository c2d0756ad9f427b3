#!/usr/bin/env bash
# Prints the path of a Chromium or Chrome for the page's test. Installs Debian's package when there is none and root asks.
set -euo pipefail

find_browser() {
  for name in "${ANSER_TEST_BROWSER:-}" chromium chromium-browser google-chrome google-chrome-stable; do
    [ -n "$name" ] && command -v "$name" && return 0
  done
  return 1
}

find_browser && exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
  echo "installing Debian's chromium for the page's test" >&2
  apt-get update -qq >&2 && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium >&2
  find_browser && exit 0
fi
echo "*** no Chromium or Chrome was found: the page's test will be skipped; install one to run it ***" >&2
exit 1
