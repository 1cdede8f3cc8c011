// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Rules by number.

use crate::rule::Rule;
use alloc::sync::Arc;
use alloc::vec::Vec;

/// Rules by place, in chunks that clones share.
#[derive(Clone, Default)]
pub(super) struct Places(Vec<Arc<Vec<Option<Arc<Rule>>>>>);

impl Places {
    const CHUNK: usize = 64;

    /// Rules with the numbers 0 and up.
    pub fn new(rules: Vec<Arc<Rule>>) -> Self {
        let mut rules = rules.into_iter().map(Some).peekable();
        let mut chunks = Vec::with_capacity(rules.len().div_ceil(Self::CHUNK));
        while rules.peek().is_some() {
            chunks.push(Arc::new(rules.by_ref().take(Self::CHUNK).collect()));
        }
        Self(chunks)
    }

    /// The next number: rules taken away count.
    pub fn len(&self) -> usize {
        self.0.last().map_or(0, |last| (self.0.len() - 1) * Self::CHUNK + last.len())
    }

    pub fn push(&mut self, rule: Arc<Rule>) -> u32 {
        let place = self.len();
        match self.0.last_mut().filter(|last| last.len() < Self::CHUNK) {
            Some(last) => Arc::make_mut(last).push(Some(rule)),
            None => {
                let mut chunk = Vec::with_capacity(Self::CHUNK);
                chunk.push(Some(rule));
                self.0.push(Arc::new(chunk));
            }
        }
        place as u32
    }

    pub fn get(&self, place: u32) -> Option<&Arc<Rule>> {
        let place = place as usize;
        self.0.get(place / Self::CHUNK)?.get(place % Self::CHUNK)?.as_ref()
    }

    pub fn clear(&mut self, place: u32) {
        let place = place as usize;
        let chunk = self.0.get_mut(place / Self::CHUNK).map(Arc::make_mut);
        if let Some(rule) = chunk.and_then(|chunk| chunk.get_mut(place % Self::CHUNK)) {
            *rule = None;
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = (u32, &Arc<Rule>)> {
        let all = (0..).zip(self.0.iter().flat_map(|chunk| chunk.iter()));
        all.filter_map(|(place, rule)| Some((place, rule.as_ref()?)))
    }
}
