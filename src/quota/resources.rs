//! What a creation may take of the cluster, read from its body as Spark will read it.
//!
//! Nothing is trusted to be small: a size that is not written counts what the configuration assumes, and one that
//! cannot be read counts the configured worst case. Spark replaces `${…}` in its settings, so it may well read what
//! cannot be read here. Nothing is refused here; what does not fit is the ledger's to say.
//!
//! Sources: Livy 0.9 (`InteractiveSession.create`, `BatchSession.create`), Spark 3.5 (`JavaUtils.byteStringAs`,
//! `SparkSubmitArguments`, `Utils.getDynamicAllocationInitialExecutors`, YARN's `ResourceRequestHelper` and
//! `ClientArguments`, Kubernetes' `BasicDriverFeatureStep` and `BasicExecutorFeatureStep`).

use std::borrow::Cow;

use super::Resources;
use crate::livy::Kind;
use crate::livy::body::CONF;
use crate::livy::json::{StrictObject, string};

/// What counts where a creation does not say, or says what cannot be read: `[quota.assumed]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Assumed {
    /// Cores of a driver that names none.
    pub driver_cores: u64,
    /// Memory of such a driver, in bytes, without overhead.
    pub driver_memory: u64,
    /// How many executors a creation has that says nothing about them.
    pub executors: u64,
    /// Cores of an executor.
    pub executor_cores: u64,
    /// Memory of an executor, in bytes, without overhead.
    pub executor_memory: u64,
    /// How many executors count where there is no bound, or none that can be read.
    pub unlimited_executors: u64,
    /// How many cores of one driver or executor count where the number cannot be read.
    pub unreadable_cores: u64,
    /// How many bytes of one driver or executor count where the size cannot be read.
    pub unreadable_memory: u64,
}

/// Spark's own defaults on YARN, and worst cases that the default quotas do not let through.
impl Default for Assumed {
    fn default() -> Self {
        Self {
            driver_cores: 1,
            driver_memory: GIB,
            executors: 2,
            executor_cores: 1,
            executor_memory: GIB,
            unlimited_executors: 100,
            unreadable_cores: 1000,
            unreadable_memory: 1024 * GIB,
        }
    }
}

impl Assumed {
    /// What is charged for a session or batch of which nothing is known, such as one found at Livy.
    pub fn charge(&self) -> Resources {
        let driver = process(self.driver_cores, with_overhead(self.driver_memory));
        let executor = process(self.executor_cores, with_overhead(self.executor_memory));
        total(driver, executor, self.executors)
    }
}

/// How sure an estimate is; the least sure of its parts decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Basis {
    /// The creation says all sizes itself.
    Written,
    /// At least one size is not written, and the assumed default counts.
    Defaults,
    /// At least one size has no bound or cannot be read, and the worst case counts.
    WorstCase,
}

/// What a creation may take, and how sure that is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Estimate {
    /// Driver and executors together.
    pub resources: Resources,
    /// Whether something had to be assumed.
    pub basis: Basis,
}

/// Estimates what a creation takes: driver and as many executors as it may have, overhead included.
///
/// A session's own fields replace the `conf` keys of the same meaning, as Livy does it. A batch's go to spark-submit
/// side by side, so where they differ the larger counts.
pub fn resources(kind: Kind, body: &StrictObject<'_>, assumed: &Assumed) -> Estimate {
    let conf = match body.get(CONF) {
        None | Some("null") => Ok(None),
        Some(json) => StrictObject::parse(json.as_bytes()).map(Some),
    };
    let mut count = Count {
        assumed,
        basis: Basis::Written,
    };
    let Ok(conf) = conf else {
        let worst = process(assumed.unreadable_cores, assumed.unreadable_memory);
        return Estimate {
            resources: total(worst, worst, assumed.unlimited_executors),
            basis: Basis::WorstCase,
        };
    };
    let settings = Settings { kind, body, conf };
    let driver = count.process(&settings, &DRIVER, assumed.driver_cores, assumed.driver_memory);
    let executor = count.process(
        &settings,
        &EXECUTOR,
        assumed.executor_cores,
        assumed.executor_memory,
    );
    let executors = count.executors(&settings);
    let all = total(driver, executor, executors);
    let master = count.application_master(&settings);
    Estimate {
        resources: process(
            all.cores.saturating_add(master.cores),
            all.memory.saturating_add(master.memory),
        ),
        basis: count.basis,
    }
}

/// What cannot be read, though Spark may read it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Unreadable;

/// A size as written; none if it is not.
type Amount = Option<Result<u64, Unreadable>>;

/// How one size is spelled: reads the text of a value.
type Spelling = fn(&str) -> Result<u64, Unreadable>;

/// A creation's body, and the settings in it.
struct Settings<'a> {
    kind: Kind,
    body: &'a StrictObject<'a>,
    conf: Option<StrictObject<'a>>,
}

impl Settings<'_> {
    /// A size that has a field of its own and `conf` keys.
    fn amount(&self, field: &str, keys: &[&str], spelling: Spelling) -> Amount {
        let own = read(self.body.get(field), spelling);
        let settings = self.setting(keys, spelling);
        match self.kind {
            Kind::Session => own.or(settings),
            Kind::Batch => larger(own, settings),
        }
    }

    /// The largest of several `conf` keys: which of them counts depends on Spark's version.
    fn setting(&self, keys: &[&str], spelling: Spelling) -> Amount {
        let conf = self.conf.as_ref();
        keys.iter()
            .map(|key| read(conf.and_then(|conf| conf.get(key)), spelling))
            .fold(None, larger)
    }

    /// A `conf` key that switches something on. What cannot be read does.
    fn switch(&self, key: &str) -> Option<bool> {
        self.setting(&[key], |text| {
            let is_off = text.trim().eq_ignore_ascii_case("false");
            Ok(u64::from(!is_off))
        })
        .map(|read| read != Ok(0))
    }
}

/// The names of what one kind of process takes.
struct Names {
    cores_field: &'static str,
    cores: &'static str,
    /// Kubernetes' own, which take precedence there.
    pod_cores: &'static [&'static str],
    memory_field: &'static str,
    memory: &'static str,
    overhead: &'static [&'static str],
    overhead_factor: &'static [&'static str],
    overhead_least: &'static str,
    /// Whether it has memory outside Java's heap that is asked for by other keys.
    has_more: bool,
}

const DRIVER: Names = Names {
    cores_field: "driverCores",
    cores: "spark.driver.cores",
    pod_cores: &[
        "spark.kubernetes.driver.request.cores",
        "spark.kubernetes.driver.limit.cores",
    ],
    memory_field: "driverMemory",
    memory: "spark.driver.memory",
    overhead: &["spark.driver.memoryOverhead", "spark.yarn.driver.memoryOverhead"],
    overhead_factor: &[
        "spark.driver.memoryOverheadFactor",
        "spark.kubernetes.memoryOverheadFactor",
    ],
    overhead_least: "spark.driver.minMemoryOverhead",
    has_more: false,
};
const EXECUTOR: Names = Names {
    cores_field: "executorCores",
    cores: "spark.executor.cores",
    pod_cores: &[
        "spark.kubernetes.executor.request.cores",
        "spark.kubernetes.executor.limit.cores",
    ],
    memory_field: "executorMemory",
    memory: "spark.executor.memory",
    overhead: &[
        "spark.executor.memoryOverhead",
        "spark.yarn.executor.memoryOverhead",
    ],
    overhead_factor: &[
        "spark.executor.memoryOverheadFactor",
        "spark.kubernetes.memoryOverheadFactor",
    ],
    overhead_least: "spark.executor.minMemoryOverhead",
    has_more: true,
};
/// What Spark's schedulers of the number of executors are called.
const DYNAMIC: [DynamicNames; 2] = [
    DynamicNames {
        enabled: "spark.dynamicAllocation.enabled",
        most: "spark.dynamicAllocation.maxExecutors",
        others: &[
            "spark.dynamicAllocation.minExecutors",
            "spark.dynamicAllocation.initialExecutors",
        ],
    },
    DynamicNames {
        enabled: "spark.streaming.dynamicAllocation.enabled",
        most: "spark.streaming.dynamicAllocation.maxExecutors",
        others: &["spark.streaming.dynamicAllocation.minExecutors"],
    },
];

struct DynamicNames {
    enabled: &'static str,
    most: &'static str,
    others: &'static [&'static str],
}

/// Adds up, and remembers how sure the sum is.
struct Count<'a> {
    assumed: &'a Assumed,
    basis: Basis,
}

impl Count<'_> {
    fn process(
        &mut self,
        settings: &Settings<'_>,
        names: &Names,
        default_cores: u64,
        default_memory: u64,
    ) -> Resources {
        let cores = settings.amount(names.cores_field, &[names.cores], whole_number);
        let cores = self.or_default(cores, default_cores, self.assumed.unreadable_cores);
        let pod = settings.setting(names.pod_cores, pod_cores);
        let pod = self.or_nothing(pod, self.assumed.unreadable_cores);
        let memory = settings.amount(names.memory_field, &[names.memory], mebibytes);
        let memory = self.or_default(memory, default_memory, self.assumed.unreadable_memory);
        let overhead = self.overhead(settings, names, memory);
        let more = if names.has_more {
            self.beside_the_heap(settings)
        } else {
            0
        };
        process(
            cores.max(pod),
            memory.saturating_add(overhead).saturating_add(more),
        )
    }

    fn overhead(&mut self, settings: &Settings<'_>, names: &Names, memory: u64) -> u64 {
        if let Some(written) = settings.setting(names.overhead, mebibytes) {
            return self.or_nothing(Some(written), self.assumed.unreadable_memory);
        }
        let least = settings.setting(&[names.overhead_least], mebibytes);
        let least = self
            .or_nothing(least, self.assumed.unreadable_memory)
            .max(LEAST_OVERHEAD);
        match settings.setting(names.overhead_factor, millionths) {
            Some(Err(Unreadable)) => {
                self.basis = Basis::WorstCase;
                self.assumed.unreadable_memory.max(least)
            }
            // Spark before 3.3 does not know the keys and takes a tenth.
            Some(Ok(factor)) => share(memory, factor.max(TENTH)).max(least),
            None => share(memory, TENTH).max(least),
        }
    }

    fn beside_the_heap(&mut self, settings: &Settings<'_>) -> u64 {
        let worst = self.assumed.unreadable_memory;
        let python = settings.setting(&["spark.executor.pyspark.memory"], mebibytes);
        let python = self.or_nothing(python, worst);
        let off_heap = match settings.switch("spark.memory.offHeap.enabled") {
            Some(true) => {
                let size = settings.setting(&["spark.memory.offHeap.size"], bytes);
                self.or_nothing(size, worst)
            }
            Some(false) | None => 0,
        };
        python.saturating_add(off_heap)
    }

    /// YARN's application master stands beside the driver in client mode; what is not written is small.
    fn application_master(&mut self, settings: &Settings<'_>) -> Resources {
        let cores = settings.setting(&["spark.yarn.am.cores"], whole_number);
        let memory = settings.setting(&["spark.yarn.am.memory"], mebibytes);
        let overhead = settings.setting(&["spark.yarn.am.memoryOverhead"], mebibytes);
        let worst = self.assumed.unreadable_memory;
        process(
            self.or_nothing(cores, self.assumed.unreadable_cores),
            self.or_nothing(memory, worst)
                .saturating_add(self.or_nothing(overhead, worst)),
        )
    }

    /// The most executors that there may ever be.
    fn executors(&mut self, settings: &Settings<'_>) -> u64 {
        let unlimited = self.assumed.unlimited_executors;
        let written = settings.amount("numExecutors", &["spark.executor.instances"], whole_number);
        let is_dynamic = DYNAMIC
            .iter()
            .any(|names| settings.switch(names.enabled) == Some(true));
        let mut executors = if written.is_none() && is_dynamic {
            0
        } else {
            self.or_default(written, self.assumed.executors, unlimited)
        };
        for names in &DYNAMIC {
            let enabled = settings.switch(names.enabled);
            if enabled == Some(false) {
                continue;
            }
            // Not switched on here, it may be in Spark's own defaults: what is written counts.
            let others = settings.setting(names.others, whole_number);
            executors = executors.max(self.or_nothing(others, unlimited));
            let most = match (settings.setting(&[names.most], whole_number), enabled) {
                (None, None | Some(false)) => 0,
                (Some(Ok(most)), _) if most < SPARKS_INFINITY => most,
                (Some(_), _) | (None, Some(true)) => {
                    self.basis = Basis::WorstCase;
                    unlimited
                }
            };
            executors = executors.max(most);
        }
        executors
    }

    fn or_default(&mut self, amount: Amount, default: u64, worst: u64) -> u64 {
        if amount.is_none() {
            self.basis = self.basis.max(Basis::Defaults);
            return default;
        }
        self.or_nothing(amount, worst)
    }

    fn or_nothing(&mut self, amount: Amount, worst: u64) -> u64 {
        match amount {
            None => 0,
            Some(Ok(amount)) => amount,
            Some(Err(Unreadable)) => {
                self.basis = Basis::WorstCase;
                worst
            }
        }
    }
}

const fn process(cores: u64, memory: u64) -> Resources {
    Resources { cores, memory }
}

const fn total(driver: Resources, executor: Resources, executors: u64) -> Resources {
    Resources {
        cores: driver
            .cores
            .saturating_add(executor.cores.saturating_mul(executors)),
        memory: driver
            .memory
            .saturating_add(executor.memory.saturating_mul(executors)),
    }
}

fn with_overhead(memory: u64) -> u64 {
    memory.saturating_add(share(memory, TENTH).max(LEAST_OVERHEAD))
}

/// A part of `memory`, in millionths, rounded up.
fn share(memory: u64, millionths: u64) -> u64 {
    let product = u128::from(memory).saturating_mul(u128::from(millionths));
    u64::try_from(product.div_ceil(1_000_000)).unwrap_or(u64::MAX)
}

fn larger(one: Amount, other: Amount) -> Amount {
    match (one, other) {
        (None, amount) | (amount, None) => amount,
        (Some(Ok(one)), Some(Ok(other))) => Some(Ok(one.max(other))),
        (Some(_), Some(_)) => Some(Err(Unreadable)),
    }
}

/// Livy turns numbers and booleans into their text; a null is no setting.
fn read(json: Option<&str>, spelling: Spelling) -> Amount {
    let json = json?;
    let text = match json.bytes().next() {
        Some(b'n') => return None,
        Some(b'{' | b'[') => Err(Unreadable),
        Some(b'"') => string(json).map_err(|_| Unreadable),
        _ => Ok(Cow::Borrowed(json)),
    };
    Some(text.and_then(|text| spelling(&text)))
}

/// A Java `int` that is not negative.
fn whole_number(text: &str) -> Result<u64, Unreadable> {
    let number: i32 = text.trim().parse().map_err(|_| Unreadable)?;
    u64::try_from(number).map_err(|_| Unreadable)
}

/// Memory as most keys have it: without a unit it is MiB.
fn mebibytes(text: &str) -> Result<u64, Unreadable> {
    size(text, MIB)
}

/// Memory as some keys have it: without a unit it is bytes.
fn bytes(text: &str) -> Result<u64, Unreadable> {
    size(text, 1)
}

fn size(text: &str, bare: u64) -> Result<u64, Unreadable> {
    let text = text.trim().to_ascii_lowercase();
    let end = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(end).ok_or(Unreadable)?;
    let factor = match unit {
        "" => bare,
        "b" => 1,
        "k" | "kb" => 1 << 10,
        "m" | "mb" => MIB,
        "g" | "gb" => GIB,
        "t" | "tb" => 1 << 40,
        "p" | "pb" => 1 << 50,
        _ => return Err(Unreadable),
    };
    let number: u64 = number.parse().map_err(|_| Unreadable)?;
    Ok(number.saturating_mul(factor))
}

/// A fraction such as `0.4`, rounded up.
fn millionths(text: &str) -> Result<u64, Unreadable> {
    let (whole, fraction) = fraction(text.trim())?;
    let rounding = u64::from(fraction.bytes().skip(6).any(|digit| digit != b'0'));
    let digits: String = fraction.chars().chain(std::iter::repeat('0')).take(6).collect();
    let fraction: u64 = digits.parse().map_err(|_| Unreadable)?;
    Ok(whole
        .saturating_mul(1_000_000)
        .saturating_add(fraction)
        .saturating_add(rounding))
}

/// Cores as Kubernetes writes them, `2`, `0.5` or `1500m`, rounded up.
fn pod_cores(text: &str) -> Result<u64, Unreadable> {
    let text = text.trim();
    if let Some(thousandths) = text.strip_suffix('m') {
        let is_number = !thousandths.is_empty() && thousandths.bytes().all(|byte| byte.is_ascii_digit());
        let thousandths: u64 = thousandths.parse().map_err(|_| Unreadable)?;
        return is_number.then(|| thousandths.div_ceil(1000)).ok_or(Unreadable);
    }
    let (whole, fraction) = fraction(text)?;
    let rounding = u64::from(fraction.bytes().any(|digit| digit != b'0'));
    Ok(whole.saturating_add(rounding))
}

/// The digits before and after the point.
fn fraction(text: &str) -> Result<(u64, &str), Unreadable> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let is_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !is_digits(whole) || !is_digits(fraction) {
        return Err(Unreadable);
    }
    Ok((whole.parse().map_err(|_| Unreadable)?, fraction))
}

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
/// Spark: `spark.executor.minMemoryOverhead`, a constant before 4.0.
const LEAST_OVERHEAD: u64 = 384 * MIB;
/// Spark: `spark.executor.memoryOverheadFactor`.
const TENTH: u64 = 100_000;
/// Spark: the default of `spark.dynamicAllocation.maxExecutors`, `Int.MaxValue`.
const SPARKS_INFINITY: u64 = 2_147_483_647;

#[cfg(test)]
mod tests;
