//! Decisions that make random schemas and queries.

/// Decisions in a row; where they end, every decision is the first, which is the simplest.
pub struct Dice<'a> {
    rolls: std::slice::Iter<'a, u8>,
}

impl<'a> Dice<'a> {
    pub fn new(rolls: &'a [u8]) -> Self {
        Self { rolls: rolls.iter() }
    }

    pub fn roll(&mut self, sides: usize) -> usize {
        self.rolls.next().map_or(0, |&roll| usize::from(roll)) % sides
    }

    pub fn pick<'t>(&mut self, texts: &[&'t str]) -> &'t str {
        texts[self.roll(texts.len())]
    }

    pub fn one_in(&mut self, chance: usize) -> bool {
        self.roll(chance) == chance - 1
    }
}
