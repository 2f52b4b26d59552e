#!/usr/bin/env bash
# Finding: cbindgen writes `pub const X: u64 = 1 << 40` as `(1 << 40)`, which is an int in C: it is 0 or what the
# compiler likes, and bit 31 becomes 33 bits.
#
# Version: cbindgen 0.29.4 (crates.io; 0.24.3 of Debian 12 alike), gcc 12.2, language C. Needs no root.
# Source: https://github.com/mozilla/cbindgen/issues/464, open since 2020.
# Behaviour: expressions are copied, without the constant's type. `1 << 40` gets a warning of gcc and no error.
#   `1 << 31`, of a u32 or a u64, gets no warning without -pedantic, and widened to 64 bits it has all of its upper
#   33 bits set: `flags & X` is true for flags that do not have it. `u64::MAX` and literals are right.
# Seen:
#   #define BIT_40: (1 << 40)
#   #define BIT_31: (1 << 31)
#   #define LITERAL: 1099511627776
#   1 << 31 as uint64_t: 0xffffffff80000000
# For users: constants of an interface that has a C header are literals (`0x100_0000_0000`), and a test compiles the
#   header and compares each constant with Rust's.
. "$(dirname "$0")/common"
tool cc gcc
crate 'cbindgen = { version = "=0.29.4", default-features = false }' <<'R'
fn main() {
    let source = std::env::args().nth(1).unwrap();
    let config = cbindgen::Config { language: cbindgen::Language::C, ..Default::default() };
    let header = cbindgen::Builder::new().with_src(source).with_config(config).generate().unwrap();
    header.write(std::io::stdout());
}
R
cat >"$work/constants.rs" <<'R'
pub const BIT_40: u64 = 1 << 40;
pub const BIT_31: u64 = 1 << 31;
pub const LITERAL: u64 = 0x100_0000_0000;
R
"$program" "$work/constants.rs" >"$work/constants.h"
value() { sed -n "s/^#define $1 //p" "$work/constants.h"; }
expect '#define BIT_40' '(1 << 40)' "$(value BIT_40)"
expect '#define BIT_31' '(1 << 31)' "$(value BIT_31)"
expect '#define LITERAL' 1099511627776 "$(value LITERAL)"
cat >"$work/widened.c" <<'C'
#include "constants.h"
#include <inttypes.h>
#include <stdio.h>

int main(void) {
    uint64_t bit = BIT_31;
    printf("%#" PRIx64 "\n", bit);
}
C
cc -Wall -Wextra -Werror -o "$work/widened" "$work/widened.c"
expect '1 << 31 as uint64_t' 0xffffffff80000000 "$("$work/widened")"
outcome
