#!/bin/sh
# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.

# Stands for the linker of illumos where there is none: puts all of a program into one relocatable
# file and leaves out libraries and whatever else only the last step of linking needs. What is
# undefined in the result is what the libraries of illumos must have.
output=
inputs=
while [ $# -gt 0 ]; do
    case "$1" in
        -o) output=$2; shift ;;
        *.o | *.rlib | *.a) inputs="$inputs $1" ;;
    esac
    shift
done
exec ld -r --gc-sections -u main -o "$output" --start-group $inputs --end-group
