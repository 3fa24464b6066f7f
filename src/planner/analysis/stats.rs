//! Is the canary worse than stable? Two sequential tests that may be looked at as often as one likes:
//! for shares of good events, and for ranks of measured values. Pure numbers; knows no metric.
//!
//! Both give an *e-value*: a number that is on average at most 1, however often it is looked at, as
//! long as the canary is no worse than allowed. So it is ever above 1/α with a chance of at most α
//! (Ville's inequality), and α may be divided among objectives (union bound). Sources: Robbins 1970
//! and Howard, Ramdas, McAuliffe, Sekhon 2021 (mixtures and always-valid confidence sequences);
//! Krichevsky and Trofimov 1981 (the mixture for shares); Mann and Whitney 1947 (the rank statistic,
//! as Kayenta uses it); Hoeffding 1963, section 5b (its sub-Gaussian bound).

/// False alarms that are allowed per rollout, over all objectives and looks together.
pub const DEFAULT_FALSE_ALARMS: f64 = 0.01;

/// What the evidence says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The canary is worse than stable by more than the effect that matters.
    Fail,
    /// It is not.
    Pass,
    /// Either may be so yet.
    Inconclusive,
}

/// Evidence for both answers, as natural logarithms of e-values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Evidence {
    /// Against "no worse than allowed".
    pub worse: f64,
    /// Against "worse than allowed".
    pub fine: f64,
}

impl Evidence {
    /// The verdict of one of `objectives` tests that share the allowed false alarms.
    pub fn verdict(self, false_alarms: f64, objectives: usize) -> Verdict {
        let share = false_alarms / objectives.max(1) as f64;
        let bar = -share.ln();
        if self.worse >= bar {
            Verdict::Fail
        } else if self.fine >= bar {
            Verdict::Pass
        } else {
            Verdict::Inconclusive
        }
    }
}

/// Events of one version since the comparison began.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Events {
    /// Bad ones.
    pub bad: f64,
    /// All.
    pub all: f64,
}

impl Events {
    fn share(self) -> f64 {
        if self.all > 0.0 {
            (self.bad / self.all).clamp(0.0, 1.0)
        } else {
            0.5
        }
    }
}

/// Compares shares of bad events: worse means that the canary's exceeds stable's by more than
/// `effect` (0.01 is one of a hundred events).
///
/// For one version, the probability of what was seen under a Beta(½, ½) mixture of shares, through
/// its probability under share p, is a martingale when p is true. The product for both versions is
/// one, and its least value over all pairs of shares that are allowed is an e-value for them all.
pub fn shares(canary: Events, stable: Events, effect: f64) -> Evidence {
    let effect = effect.clamp(0.0, 0.999);
    let at_best = mixture(canary, canary.share()) + mixture(stable, stable.share());
    let at_edge = least_on_edge(canary, stable, effect);
    let is_worse = canary.share() > stable.share() + effect;
    if is_worse {
        Evidence {
            worse: at_edge,
            fine: at_best,
        }
    } else {
        Evidence {
            worse: at_best,
            fine: at_edge,
        }
    }
}

/// ln of the mixture's probability through that of the share p.
fn mixture(events: Events, p: f64) -> f64 {
    let bad = events.bad.clamp(0.0, events.all.max(0.0));
    let good = events.all.max(0.0) - bad;
    let log = |count: f64, p: f64| if count > 0.0 { count * p.ln() } else { 0.0 };
    ln_beta(bad + 0.5, good + 0.5)
        - ln_beta(0.5, 0.5)
        - log(bad, p.clamp(1e-300, 1.0))
        - log(good, (1.0 - p).clamp(1e-300, 1.0))
}

/// The least product where the canary's share is stable's plus the effect: convex in the share, so
/// that thirds find it.
fn least_on_edge(canary: Events, stable: Events, effect: f64) -> f64 {
    let at = |p: f64| mixture(canary, p + effect) + mixture(stable, p);
    let (mut low, mut high) = (0.0, 1.0 - effect);
    for _ in 0..100 {
        let third = (high - low) / 3.0;
        if at(low + third) < at(high - third) {
            high -= third;
        } else {
            low += third;
        }
    }
    at(f64::midpoint(low, high))
}

/// What is known of ranks so far. Adds up over looks, each of which compares what both versions
/// measured since the one before: load that changes during the day hits both.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Ranks {
    /// Sum over looks of pairs × (share of pairs in which the canary's value is higher − ½).
    pub excess: f64,
    /// Sum over looks of pairs.
    pub pairs: f64,
}

/// Width of the mixture over effects: best after about 250 pairs.
const RHO_SQUARED: f64 = 0.2;

impl Ranks {
    /// With one more look. `canary` and `stable` are counts by ascending ranges of values; values in
    /// one range are ties. Nothing is added where one side has nothing.
    #[must_use]
    pub fn with(self, canary: &[f64], stable: &[f64]) -> Self {
        let total = |counts: &[f64]| counts.iter().filter(|c| **c > 0.0).sum::<f64>();
        let (n, m) = (total(canary), total(stable));
        // Of n and m values, this many pairs are independent of each other (Hoeffding 5.13).
        let pairs = n.min(m).floor();
        if pairs < 1.0 {
            return self;
        }
        let mut below = 0.0;
        let mut wins = 0.0;
        for (c, s) in canary.iter().zip(stable) {
            let (c, s) = (c.max(0.0), s.max(0.0));
            wins += c * (below + s / 2.0);
            below += s;
        }
        let share = (wins / (n * m)).clamp(0.0, 1.0);
        Self {
            excess: self.excess + pairs * (share - 0.5),
            pairs: self.pairs + pairs,
        }
    }

    /// Share of pairs in which the canary's value is the higher one, ties by half.
    pub fn share(self) -> f64 {
        if self.pairs > 0.0 {
            0.5 + self.excess / self.pairs
        } else {
            0.5
        }
    }

    /// Compares ranks: worse means that the canary's value is the higher one in more than ½ +
    /// `effect` of the pairs.
    ///
    /// The share of a look is sub-Gaussian with variance 1/(4·pairs), whatever the values are; a
    /// normal mixture over the positive half of effects makes the e-value.
    pub fn evidence(self, effect: f64) -> Evidence {
        let excess = self.excess - effect * self.pairs;
        let variance = self.pairs / 4.0;
        Evidence {
            worse: half_normal(excess, variance),
            fine: half_normal(-excess, variance),
        }
    }
}

/// ln of the mean of exp(λ·s − λ²·v/2) over the positive half of a normal distribution for λ.
fn half_normal(s: f64, v: f64) -> f64 {
    let width = 1.0 + RHO_SQUARED * v;
    let z = s * RHO_SQUARED.sqrt() / width.sqrt();
    std::f64::consts::LN_2 - width.ln() / 2.0 + z * z / 2.0 + ln_normal_below(z)
}

/// ln Φ(z), also far out on the left where Φ is no number any more.
fn ln_normal_below(z: f64) -> f64 {
    if z < -8.0 {
        // Mills' ratio: Φ(z) ≈ φ(z)/|z|·(1 − 1/z²).
        return -z * z / 2.0 - (std::f64::consts::TAU.sqrt() * -z).ln() + (-1.0 / (z * z)).ln_1p();
    }
    (0.5 * erfc(-z / std::f64::consts::SQRT_2)).max(1e-300).ln()
}

/// The complementary error function, with a relative error below 1.2e-7 (Numerical Recipes 6.2).
fn erfc(x: f64) -> f64 {
    let t = 1.0 / (1.0 + 0.5 * x.abs());
    let terms = [
        -1.265_512_23,
        1.000_023_68,
        0.374_091_96,
        0.096_784_18,
        -0.186_288_06,
        0.278_868_07,
        -1.135_203_98,
        1.488_515_87,
        -0.822_152_23,
        0.170_872_77,
    ];
    let sum = terms.iter().rev().fold(0.0, |sum, term| sum * t + term);
    let tail = t * (sum - x * x).exp();
    if x >= 0.0 { tail } else { 2.0 - tail }
}

/// ln of the beta function.
fn ln_beta(a: f64, b: f64) -> f64 {
    ln_gamma(a) + ln_gamma(b) - ln_gamma(a + b)
}

/// ln of the gamma function for x > 0 (Lanczos, relative error below 1e-13).
fn ln_gamma(x: f64) -> f64 {
    let terms = [
        676.520_368_121_885_1,
        -1_259.139_216_722_402_8,
        771.323_428_777_653_1,
        -176.615_029_162_140_6,
        12.507_343_278_686_905,
        -0.138_571_095_265_720_12,
        9.984_369_578_019_572e-6,
        1.505_632_735_149_311_6e-7,
    ];
    if x < 0.5 {
        let pi = std::f64::consts::PI;
        return (pi / (pi * x).sin()).ln() - ln_gamma(1.0 - x);
    }
    let x = x - 1.0;
    let mut sum = 0.999_999_999_999_809_9;
    let mut at = x;
    for term in terms {
        at += 1.0;
        sum += term / at;
    }
    let t = x + 7.5;
    0.5 * std::f64::consts::TAU.ln() + (x + 0.5) * t.ln() - t + sum.ln()
}

#[cfg(test)]
mod tests;
