# SPDX-License-Identifier: GPL-2.0-or-later
# Sourced by graft and refresh-patches after lib.sh and pins: the QEMU source
# to build on ($qemu_src, or the pinned tarball if empty) and the patch series.

tree=$top/upstream
state=$tree/.gmem

q()
{
    QUILT_PATCHES="$top/patches" QUILT_PC=.pc quilt --quiltrc - "$@"
}

# source_id: changes whenever the source does
source_id()
{
    if [ -z "$qemu_src" ]; then
        echo "$QEMU_SHA256"
    elif [ -d "$qemu_src" ]; then
        find "$qemu_src" -name .git -prune -o -type f -printf '%p %s %T@\n' |
            sort | sha256sum | cut -d ' ' -f 1
    else
        sha256 "$qemu_src"
    fi
}

# unpack DIR: the source, unpatched, into a new directory
unpack()
{
    mkdir "$1"
    origin=$qemu_src
    if [ -d "$qemu_src" ]; then
        tar -C "$qemu_src" --exclude-vcs -cf - . |
            tar -C "$1" --no-same-owner -xf -
    else
        origin=${qemu_src:-$("$top/scripts/fetch" qemu)} || exit 1
        tar -C "$1" --no-same-owner --strip-components=1 -xf "$origin" ||
            die "'$origin' cannot be unpacked"
    fi
    if ! [ -f "$1/VERSION" ] || ! [ -f "$1/meson.build" ]; then
        die "'$origin' is no QEMU source: it has no VERSION or meson.build"
    fi
}

series()
{
    sed -e 's/#.*//' -e '/^[[:space:]]*$/d' "$top/patches/series"
}

series_id()
{
    for patch in $(series); do
        [ -r "$top/patches/$patch" ] ||
            die "'patches/$patch' is missing: it stands in patches/series"
    done
    (cd "$top/patches" && series | xargs -r tail -n +1 /dev/null) |
        sha256sum | cut -d ' ' -f 1
}

# patched_files: what the applied patches touch
patched_files()
{
    if [ -d "$tree/.pc" ]; then
        (cd "$tree/.pc" && find . -mindepth 2 -type f ! -name .timestamp \
            -printf '%P\n' | cut -d / -f 2- | sort -u)
    fi
}

# newer_files: what has been written in the tree since the graft
newer_files()
{
    (cd "$tree" && find . \( -name .gmem -o -name .pc -o -name __pycache__ \) \
        -prune -o -type f ! -name .wraplock -newer .gmem/sums -printf '%P\n')
}

# write_state: the tree is what the source and the series make it
write_state()
{
    patched_files > "$state/files"
    (cd "$tree" && while read -r f; do
        if [ -f "$f" ]; then sha256sum "$f"; fi
    done < .gmem/files) > "$state/sums"
    echo "$qemu_src" > "$state/qemu-src"
    source_id > "$state/source"
    series_id > "$state/patches"
}
