# SPDX-License-Identifier: GPL-2.0-or-later
# Sourced by the scripts here: where things are, how to say what is wrong.
# The caller has set $top to the project's directory.

cache=${GMEM_CACHE:-${XDG_CACHE_HOME:-${HOME:-/nonexistent}/.cache}/qemu-gmem}

say()
{
    echo "$*" >&2
}

die()
{
    say "error: $*"
    exit 1
}

# need_cache [SUBDIR]: makes sure the cache, or a directory in it, is writable
need_cache()
{
    dir=$cache${1:+/$1}
    if ! mkdir -p "$dir" 2>/dev/null || ! [ -w "$dir" ]; then
        die "cache directory '$dir' cannot be written:" \
            "set GMEM_CACHE to a directory that can"
    fi
}

sha256()
{
    sha256sum < "$1" | cut -d ' ' -f 1
}

# debian_codename: bookworm, trixie, ...; nothing on other systems
debian_codename()
{
    # shellcheck disable=SC1091
    (ID='' VERSION_CODENAME=''
     if [ -r /etc/os-release ]; then . /etc/os-release; fi
     if [ "$ID" = debian ]; then echo "$VERSION_CODENAME"; fi)
}
