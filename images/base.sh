#!/bin/sh
# Makes a base image where no registry can be reached: Debian with Python 3.11, from Debian's own packages (as root, a minute).
#   sh images/base.sh NAME && make images BASE=NAME
set -eu
name=${1:?a name for the image, such as local/python:3.11}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
debootstrap --variant=minbase --include=python3,python3-venv,ca-certificates bookworm "$folder" >"$folder.log" 2>&1 || {
  tail "$folder.log" >&2
  exit 1
}
rm -rf "$folder.log" "$folder"/var/cache/apt/archives/*.deb "$folder"/var/cache/apt/*.bin "$folder"/var/lib/apt/lists/* \
  "$folder"/var/log/* "$folder"/usr/share/doc/* "$folder"/usr/share/man/* "$folder"/usr/share/locale/*
find "$folder" -name __pycache__ -prune -exec rm -rf {} +
tar -C "$folder" -c . | "${DOCKER:-docker}" import --change 'CMD ["python3"]' - "$name"
