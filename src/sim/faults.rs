//! What goes wrong between the controller and the API server: conflicts, errors, lost answers,
//! crashes before or after a write. Knows no write in particular.

use super::clock::Ms;

/// Faults that wait for the controller's next writes.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    /// So many of the next writes meet somebody else's.
    pub conflicts: u32,
    /// So many of the next writes are answered with an error, and do not happen.
    pub errors: u32,
    /// So many of the next writes happen, but their answers are lost.
    pub lost_answers: u32,
    /// The controller crashes at a write to come.
    pub crash: Option<Crash>,
}

/// A crash to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Crash {
    /// At the write after so many others.
    pub after: u32,
    /// The write happens all the same.
    pub is_written: bool,
    /// How long the controller stays down.
    pub down: Ms,
    /// Its first list shows the world as it was so long before the start.
    pub old_list: Option<Ms>,
}

/// What happens to one write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is carried out and answered.
    Fine,
    /// It is answered with 409 and does not happen.
    Conflict,
    /// It is answered with 500 and does not happen.
    Error,
    /// It happens, and nobody answers.
    Lost,
    /// The controller is gone before it sends it.
    CrashBefore(Crash),
    /// The controller is gone before it hears of it.
    CrashAfter(Crash),
}

impl Faults {
    /// Decides the next write's fate.
    pub fn decide(&mut self) -> Fate {
        match &mut self.crash {
            Some(crash) if crash.after == 0 => {
                let crash = *crash;
                self.crash = None;
                return match crash.is_written {
                    true => Fate::CrashAfter(crash),
                    false => Fate::CrashBefore(crash),
                };
            }
            Some(crash) => crash.after -= 1,
            None => {}
        }
        let take = |count: &mut u32, fate| {
            let is_due = *count > 0;
            *count = count.saturating_sub(1);
            is_due.then_some(fate)
        };
        take(&mut self.conflicts, Fate::Conflict)
            .or_else(|| take(&mut self.errors, Fate::Error))
            .or_else(|| take(&mut self.lost_answers, Fate::Lost))
            .unwrap_or(Fate::Fine)
    }
}
