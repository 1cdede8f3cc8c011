// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Loops for wider registers than every processor of the architecture has.

/// The sum of 32-bit words.
pub fn sum(words: &[[u8; 4]]) -> u64 {
    #[cfg(target_arch = "x86_64")]
    if words.len() >= MIN_WORDS && std::arch::is_x86_feature_detected!("avx2") {
        // SAFETY: the processor has AVX2, as was just asked.
        return unsafe { sum_avx2(words) };
    }
    plain_sum(words)
}

/// Below, asking costs more than it brings.
#[cfg(target_arch = "x86_64")]
const MIN_WORDS: usize = 32;

/// The same loop, compiled for AVX2.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn sum_avx2(words: &[[u8; 4]]) -> u64 {
    plain_sum(words)
}

// A loop, not an iterator's sum: only what is inlined here is compiled for the wider registers.
#[inline(always)]
fn plain_sum(words: &[[u8; 4]]) -> u64 {
    let mut sum = 0;
    for word in words {
        sum += u64::from(u32::from_ne_bytes(*word));
    }
    sum
}
