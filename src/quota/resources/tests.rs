use super::*;

fn of(kind: Kind, body: &str) -> Estimate {
    resources(
        kind,
        &StrictObject::parse(body.as_bytes()).unwrap(),
        &Assumed::default(),
    )
}

/// Cores, MiB and basis of a body, as a session and as a batch.
fn each(body: &str) -> [(u64, u64, Basis); 2] {
    Kind::ALL.map(|kind| {
        let Estimate { resources, basis } = of(kind, body);
        (resources.cores, resources.memory / MIB, basis)
    })
}

/// All five sizes, so that a case says what it changes.
fn sized(conf: &str) -> String {
    format!(
        r#"{{"driverCores":1,"driverMemory":"1g","executorCores":1,"executorMemory":"1g","numExecutors":1,"conf":{conf}}}"#
    )
}

/// What those five are with their overhead.
const SIZED: u64 = 2 * (1024 + 384);

#[test]
fn hdinsights_first_example_is_a_hundred_and_two_cores() {
    let body = r#"{"kind":"spark","driverMemory":"1G","driverCores":2,"executorMemory":"1G","executorCores":10,"numExecutors":10}"#;
    assert_eq!(each(body), [(102, 11 * 1408, Basis::Written); 2]);
}

#[test]
fn a_body_without_sizes_counts_what_is_assumed() {
    assert_eq!(each("{}"), [(3, 3 * 1408, Basis::Defaults); 2]);
    assert_eq!(
        of(Kind::Batch, "{}").resources,
        Assumed::default().charge(),
        "and so does what was found"
    );
    for body in [
        r#"{"conf":null}"#,
        r#"{"driverCores":null,"conf":{"spark.executor.cores":null}}"#,
    ] {
        assert_eq!(each(body), [(3, 3 * 1408, Basis::Defaults); 2], "{body}");
    }
}

#[test]
fn a_setting_counts_like_the_field_of_the_same_meaning() {
    let settings = r#"{"conf":{"spark.driver.cores":"2","spark.driver.memory":"1G","spark.executor.cores":10,
        "spark.executor.memory":"1024","spark.executor.instances":"10"}}"#;
    assert_eq!(each(settings), [(102, 11 * 1408, Basis::Written); 2]);
}

#[test]
fn a_sessions_field_replaces_the_setting_and_of_a_batch_the_larger_counts() {
    let body = |field: u64, setting: u64| {
        format!(
            r#"{{"driverCores":1,"executorCores":1,"numExecutors":{field},"conf":{{"spark.executor.instances":{setting}}}}}"#
        )
    };
    let cores = |body: String| Kind::ALL.map(|kind| of(kind, &body).resources.cores);
    assert_eq!(cores(body(2, 9)), [3, 10]);
    assert_eq!(cores(body(9, 2)), [10, 10]);
}

#[test]
fn memory_is_read_in_sparks_units() {
    for (text, mebibytes) in [
        ("2048", 2048),
        ("2048m", 2048),
        ("2048MB", 2048),
        ("2g", 2048),
        ("2Gb", 2048),
        (" 2G ", 2048),
        ("2097152k", 2048),
        ("2097152kb", 2048),
        ("2147483648b", 2048),
        ("1t", 1 << 20),
        ("1TB", 1 << 20),
        ("1p", 1 << 30),
        ("1pb", 1 << 30),
        ("0", 0),
    ] {
        assert_eq!(super::mebibytes(text), Ok(mebibytes * MIB), "{text}");
    }
    for text in [
        "",
        "g",
        "-1g",
        "1.5g",
        "1 g",
        "2gib",
        "0x10",
        "1e3",
        "${spark.x}",
        "١g",
        "1\u{212a}",
        "99999999999999999999",
    ] {
        assert_eq!(super::mebibytes(text), Err(Unreadable), "{text}");
    }
    assert_eq!(bytes("2048"), Ok(2048));
    assert_eq!(super::mebibytes("18446744073709551615p"), Ok(u64::MAX));
}

#[test]
fn numbers_fractions_and_pods_cores_are_read_with_care() {
    for (text, number) in [("0", Ok(0)), (" +7 ", Ok(7)), ("2147483647", Ok(SPARKS_INFINITY))] {
        assert_eq!(whole_number(text), number, "{text}");
    }
    for text in ["", "-1", "2.0", "1e3", "2147483648", "${x}", "two"] {
        assert_eq!(whole_number(text), Err(Unreadable), "{text}");
    }
    for (text, number) in [
        ("0.4", 400_000),
        ("2", 2_000_000),
        ("0.1000001", 100_001),
        ("1.", 1_000_000),
    ] {
        assert_eq!(millionths(text), Ok(number), "{text}");
    }
    for text in ["", ".5", "-0.1", "1e2", "NaN", "Infinity", "0.1d"] {
        assert_eq!(millionths(text), Err(Unreadable), "{text}");
    }
    for (text, number) in [("2", 2), ("0.5", 1), ("1500m", 2), ("2.0", 2)] {
        assert_eq!(pod_cores(text), Ok(number), "{text}");
    }
    for text in ["m", "-1", "+1m", "1k"] {
        assert_eq!(pod_cores(text), Err(Unreadable), "{text}");
    }
}

#[test]
fn every_way_to_ask_for_more_memory_counts() {
    for (conf, driver, executor) in [
        (r#"{"spark.driver.memoryOverhead":"1g"}"#, 1024 + 1024, 1408),
        (r#"{"spark.yarn.driver.memoryOverhead":"512"}"#, 1024 + 512, 1408),
        (r#"{"spark.executor.memoryOverhead":2048}"#, 1408, 1024 + 2048),
        (
            r#"{"spark.executor.memoryOverhead":"1","spark.yarn.executor.memoryOverhead":"600"}"#,
            1408,
            1024 + 600,
        ),
        (
            r#"{"spark.executor.memoryOverheadFactor":"0.5"}"#,
            1408,
            1024 + 512,
        ),
        (r#"{"spark.kubernetes.memoryOverheadFactor":"2"}"#, 3072, 3072),
        (r#"{"spark.driver.memoryOverheadFactor":"0.0"}"#, 1408, 1408),
        (r#"{"spark.executor.minMemoryOverhead":"1g"}"#, 1408, 2048),
        (r#"{"spark.executor.pyspark.memory":"3g"}"#, 1408, 1408 + 3072),
        (
            r#"{"spark.memory.offHeap.enabled":true,"spark.memory.offHeap.size":"1073741824"}"#,
            1408,
            1408 + 1024,
        ),
        (
            r#"{"spark.memory.offHeap.enabled":"TRUE","spark.memory.offHeap.size":"2g"}"#,
            1408,
            1408 + 2048,
        ),
        (
            r#"{"spark.memory.offHeap.enabled":"false","spark.memory.offHeap.size":"2g"}"#,
            1408,
            1408,
        ),
        (
            r#"{"spark.yarn.am.memory":"1g","spark.yarn.am.memoryOverhead":"1g"}"#,
            1408 + 2048,
            1408,
        ),
    ] {
        let expected = (2, driver + executor, Basis::Written);
        assert_eq!(each(&sized(conf)), [expected; 2], "{conf}");
    }
}

#[test]
fn a_tenth_is_the_overhead_of_much_memory() {
    let body =
        r#"{"driverCores":1,"driverMemory":"10g","executorCores":1,"executorMemory":"20g","numExecutors":2}"#;
    assert_eq!(each(body), [(3, 11 * 1024 + 2 * 22 * 1024, Basis::Written); 2]);
}

#[test]
fn every_way_to_ask_for_more_cores_counts() {
    for (conf, cores) in [
        (r#"{"spark.kubernetes.executor.request.cores":"8"}"#, 9),
        (r#"{"spark.kubernetes.executor.limit.cores":"7500m"}"#, 9),
        (r#"{"spark.kubernetes.driver.request.cores":"0.5"}"#, 2),
        (r#"{"spark.kubernetes.driver.limit.cores":"4"}"#, 5),
        (r#"{"spark.yarn.am.cores":"3"}"#, 5),
    ] {
        assert_eq!(each(&sized(conf)), [(cores, SIZED, Basis::Written); 2], "{conf}");
    }
}

#[test]
fn as_many_executors_count_as_dynamic_allocation_may_start() {
    use Basis::{WorstCase, Written};
    let unlimited = Assumed::default().unlimited_executors;
    for (conf, executors, basis) in [
        (
            r#"{"spark.dynamicAllocation.enabled":"true","spark.dynamicAllocation.maxExecutors":"7"}"#,
            7,
            Written,
        ),
        (
            r#"{"spark.dynamicAllocation.enabled":true,"spark.dynamicAllocation.maxExecutors":7}"#,
            7,
            Written,
        ),
        (
            r#"{"spark.dynamicAllocation.enabled":"true"}"#,
            unlimited,
            WorstCase,
        ),
        (
            r#"{"spark.dynamicAllocation.enabled":"${spark.x}"}"#,
            unlimited,
            WorstCase,
        ),
        (
            r#"{"spark.dynamicAllocation.enabled":"true","spark.dynamicAllocation.maxExecutors":"2147483647"}"#,
            unlimited,
            WorstCase,
        ),
        (
            r#"{"spark.dynamicAllocation.enabled":"true","spark.dynamicAllocation.maxExecutors":"-1"}"#,
            unlimited,
            WorstCase,
        ),
        (
            r#"{"spark.dynamicAllocation.enabled":"true","spark.dynamicAllocation.initialExecutors":"500"}"#,
            500,
            WorstCase,
        ),
        (
            r#"{"spark.dynamicAllocation.enabled":"true","spark.dynamicAllocation.maxExecutors":"2","spark.dynamicAllocation.minExecutors":"5"}"#,
            5,
            Written,
        ),
        (r#"{"spark.dynamicAllocation.maxExecutors":"9"}"#, 9, Written),
        (
            r#"{"spark.dynamicAllocation.enabled":"false","spark.dynamicAllocation.maxExecutors":"9"}"#,
            1,
            Written,
        ),
        (
            r#"{"spark.streaming.dynamicAllocation.enabled":"true"}"#,
            unlimited,
            WorstCase,
        ),
        (
            r#"{"spark.streaming.dynamicAllocation.enabled":"true","spark.streaming.dynamicAllocation.maxExecutors":"3"}"#,
            3,
            Written,
        ),
    ] {
        let expected = (1 + executors, (1 + executors) * 1408, basis);
        assert_eq!(each(&sized(conf)), [expected; 2], "{conf}");
    }
}

#[test]
fn a_small_maximum_counts_where_no_number_is_written() {
    let body = r#"{"driverCores":1,"driverMemory":"1g","executorCores":1,"executorMemory":"1g",
        "conf":{"spark.dynamicAllocation.enabled":"true","spark.dynamicAllocation.maxExecutors":"1"}}"#;
    assert_eq!(each(body), [(2, SIZED, Basis::Written); 2]);
}

#[test]
fn what_cannot_be_read_counts_the_worst_case() {
    let Assumed {
        unlimited_executors,
        unreadable_cores,
        unreadable_memory,
        ..
    } = Assumed::default();
    let memory = unreadable_memory / MIB;
    for (body, cores, mebibytes) in [
        (r#"{"driverCores":-1}"#, unreadable_cores + 2, 3 * 1408),
        (r#"{"driverCores":2.5}"#, unreadable_cores + 2, 3 * 1408),
        (
            r#"{"numExecutors":-5}"#,
            unlimited_executors + 1,
            (unlimited_executors + 1) * 1408,
        ),
        (
            r#"{"driverMemory":"lots"}"#,
            3,
            memory + memory.div_ceil(10) + 2 * 1408,
        ),
        (
            r#"{"conf":{"spark.executor.cores":[4]}}"#,
            2 * unreadable_cores + 1,
            3 * 1408,
        ),
        (
            r#"{"conf":{"spark.executor.instances":"${spark.x}"}}"#,
            unlimited_executors + 1,
            (unlimited_executors + 1) * 1408,
        ),
        (
            r#"{"conf":{"spark.driver.memoryOverhead":"-1"}}"#,
            3,
            1024 + memory + 2 * 1408,
        ),
        (
            r#"{"conf":{"spark.driver.memoryOverheadFactor":"-1"}}"#,
            3,
            1024 + memory + 2 * 1408,
        ),
        (
            r#"{"conf":[]}"#,
            unreadable_cores * (1 + unlimited_executors),
            memory * (1 + unlimited_executors),
        ),
    ] {
        for (found_cores, found, basis) in each(body) {
            assert_eq!((found_cores, basis), (cores, Basis::WorstCase), "{body}");
            assert!(
                found.abs_diff(mebibytes) <= 1,
                "{body}: {found} MiB, not {mebibytes}"
            );
        }
    }
}

#[test]
fn the_largest_numbers_do_not_wrap() {
    let body = r#"{"driverMemory":"9223372036854775807p","executorMemory":"9223372036854775807p",
        "executorCores":2147483647,"numExecutors":2147483647}"#;
    for kind in Kind::ALL {
        let found = of(kind, body).resources;
        assert_eq!(found.memory, u64::MAX);
        assert_eq!(found.cores, 1 + SPARKS_INFINITY * SPARKS_INFINITY);
    }
    let endless = Assumed {
        executor_cores: u64::MAX,
        executors: u64::MAX,
        ..Assumed::default()
    };
    assert_eq!(endless.charge().cores, u64::MAX);
}
