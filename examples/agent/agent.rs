//! What the agent does with a task. Knows latency, tools, cost and violations; knows nothing of HTTP.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::metrics::Metrics;

/// How good or bad this version of the agent is.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Behaviour {
    /// Mean time a task takes; single tasks take between half of it and one and a half times it.
    #[arg(long, env = "AGENT_LATENCY", default_value = "80ms", value_parser = humantime::parse_duration)]
    latency: Duration,
    /// Tool calls per task.
    #[arg(long, env = "AGENT_TOOL_CALLS", default_value_t = 2)]
    tool_calls: u32,
    /// Share of tool calls that fail, 0 to 1.
    #[arg(long, env = "AGENT_TOOL_FAILURE", default_value_t = 0.0)]
    tool_failure: f64,
    /// Mean cost of a task in dollars; single tasks cost between half of it and one and a half times it.
    #[arg(long, env = "AGENT_COST", default_value_t = 0.01)]
    cost: f64,
    /// Share of tasks that break a governance rule, 0 to 1.
    #[arg(long, env = "AGENT_VIOLATIONS", default_value_t = 0.0)]
    violations: f64,
}

impl Behaviour {
    /// Refuses shares outside of 0 to 1 and costs that are no amount of money.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        for (name, share) in [
            ("AGENT_TOOL_FAILURE", self.tool_failure),
            ("AGENT_VIOLATIONS", self.violations),
        ] {
            anyhow::ensure!(
                (0.0..=1.0).contains(&share),
                "{name}={share}: give a share, 0 to 1"
            );
        }
        anyhow::ensure!(
            self.cost.is_finite() && self.cost >= 0.0,
            "AGENT_COST={}: give dollars per task, 0 or more",
            self.cost
        );
        Ok(())
    }
}

/// The agent: its behaviour, what it has counted, and whether it takes tasks.
pub(crate) struct Agent {
    behaviour: Behaviour,
    pub(crate) metrics: Metrics,
    is_ready: AtomicBool,
    chance: Chance,
}

/// What came of a task.
pub(crate) struct Done {
    pub(crate) succeeded: bool,
    failed_tools: u32,
    tools: u32,
    dollars: f64,
    took: Duration,
}

impl Agent {
    pub(crate) fn new(behaviour: Behaviour) -> Self {
        let (metrics, chance) = (Metrics::new(), Chance::new());
        Self {
            behaviour,
            metrics,
            is_ready: AtomicBool::new(false),
            chance,
        }
    }

    pub(crate) fn set_ready(&self, ready: bool) {
        self.is_ready.store(ready, Ordering::Relaxed);
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.is_ready.load(Ordering::Relaxed)
    }

    /// Runs one task and counts it. A task whose every tool call failed is an error.
    pub(crate) async fn run_task(&self) -> Done {
        let begun = Instant::now();
        tokio::time::sleep(self.behaviour.latency.mul_f64(self.chance.around_one())).await;
        let tools = self.behaviour.tool_calls;
        let failed_tools = (0..tools).filter(|_| self.call_tool()).count();
        let failed_tools = u32::try_from(failed_tools).unwrap_or(tools);
        let succeeded = tools == 0 || failed_tools < tools;
        let dollars = self.behaviour.cost * self.chance.around_one();
        let took = begun.elapsed();
        if self.chance.happens(self.behaviour.violations) {
            self.metrics.violation();
        }
        self.metrics.task(took, dollars, succeeded);
        Done {
            succeeded,
            failed_tools,
            tools,
            dollars,
            took,
        }
    }

    /// One tool call; true when it failed.
    fn call_tool(&self) -> bool {
        let failed = self.chance.happens(self.behaviour.tool_failure);
        self.metrics.tool_call(!failed);
        failed
    }
}

impl fmt::Display for Done {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            succeeded,
            failed_tools,
            tools,
            dollars,
            took,
        } = self;
        let outcome = if *succeeded { "done" } else { "failed" };
        write!(f, "{outcome} in {} ms, ", took.as_millis())?;
        write!(
            f,
            "{failed_tools} of {tools} tool calls failed, cost ${dollars:.4}"
        )
    }
}

/// Chance that needs no crate: a counter through SplitMix64's mixing, seeded per process.
struct Chance(AtomicU64);

impl Chance {
    fn new() -> Self {
        Self(AtomicU64::new(
            RandomState::new().hash_one(std::process::id()),
        ))
    }

    /// Uniform in 0 up to, not including, 1.
    fn share(&self) -> f64 {
        let mut z = self.0.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        (z >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Uniform in 0.5 up to 1.5.
    fn around_one(&self) -> f64 {
        0.5 + self.share()
    }

    /// True with this probability: never for 0, always for 1.
    fn happens(&self, probability: f64) -> bool {
        self.share() < probability
    }
}
