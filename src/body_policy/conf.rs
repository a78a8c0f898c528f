//! Reads the Spark settings of a creation, and refuses those that no configuration can allow.

use std::borrow::Cow;

use super::builtin;
use crate::denial::{Denial, quotable, shown_value};
use crate::livy::json::{StrictObject, string, type_name};

/// What becomes of one `conf` key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConfVerdict {
    /// It goes to Livy, if the operator's rules agree.
    Keep,
    /// The creation is refused for this reason, unless the operator opened the key.
    Unsafe(&'static str),
    /// It is left out without a word: Livy's own clients send their whole settings along.
    Drop,
    /// The creation is refused for this reason, whatever the operator wrote.
    Refuse(&'static str),
}

/// Judges a `conf` key, whatever its value.
///
/// Refused in any case are the keys that say for whom, by whose credentials or under whose control a session runs.
/// Refused is also every key that is not `spark.` and letters, digits, `.`, `_`, `-`: for batches Livy writes
/// `--conf key=value`, and spark-submit splits that at the first `=`.
pub fn judge_conf_key(key: &str) -> ConfVerdict {
    let lower = key.to_ascii_lowercase();
    if lower == "livy.uri" || lower.starts_with("livy.client.") {
        return ConfVerdict::Drop;
    }
    if let Some(rule) = builtin::identity_rule(&lower) {
        return ConfVerdict::Refuse(rule.reason);
    }
    if !is_spark_key(key) {
        return ConfVerdict::Refuse(SYNTAX);
    }
    match builtin::unsafe_rule(&lower) {
        Some(rule) => ConfVerdict::Unsafe(rule.reason),
        None => ConfVerdict::Keep,
    }
}

/// Whether it is `spark.` and then letters, digits, `.`, `_` or `-`.
pub(super) fn is_spark_key(key: &str) -> bool {
    key.strip_prefix("spark.")
        .is_some_and(|rest| !rest.is_empty() && rest.bytes().all(is_key_byte))
}

/// Reads all of a creation's settings and gives back those that Livy may get, if the operator's rules agree.
pub(super) fn check(json: &str) -> Result<StrictObject<'_>, Denial> {
    let mut settings = StrictObject::parse(json.as_bytes())?;
    let mut unwanted = Vec::new();
    for (key, json) in settings.members() {
        match judge_conf_key(key) {
            ConfVerdict::Refuse(reason) => return Err(refused(key, &value_of(json), reason)),
            ConfVerdict::Drop => unwanted.push(key.to_owned()),
            // Livy passes a null on to Spark, as a setting without a value. It does not excuse the key.
            ConfVerdict::Keep if json == "null" => unwanted.push(key.to_owned()),
            ConfVerdict::Keep | ConfVerdict::Unsafe(_) => check_value(key, json)?,
        }
    }
    for key in unwanted {
        settings.remove(&key);
    }
    Ok(settings)
}

/// A setting's value as Livy reads it: the text of a string, a number or boolean as it is written.
pub(super) fn value_of(json: &str) -> Cow<'_, str> {
    string(json).unwrap_or(Cow::Borrowed(json))
}

/// Whether a value names a variable by which Hadoop is told who the user is. It looks for them in the environment,
/// then among Java's system properties, which `-DHADOOP_USER_NAME=…` in a dozen settings for Java options would set.
pub(super) fn names_user_variable(value: &str) -> bool {
    let upper = value.to_ascii_uppercase();
    USER_VARIABLES.iter().any(|name| upper.contains(name))
}

/// The refusal of a setting; the rule says why, and is no whole sentence.
pub(super) fn refused(key: &str, value: &str, rule: impl Into<Cow<'static, str>>) -> Denial {
    Denial::ConfRefused {
        key: quotable(key),
        value: shown_value(key, value),
        rule: rule.into(),
    }
}

// Livy takes numbers and booleans by their text, and notebooks rely on that.
fn check_value(key: &str, json: &str) -> Result<(), Denial> {
    let invalid = |problem: Cow<'_, str>| {
        Denial::InvalidBody(format!("The conf key '{}' {problem}.", quotable(key)).into())
    };
    match json.bytes().next() {
        Some(b'"') => {
            let value = string(json).map_err(|problem| invalid(problem.into()))?;
            if value.contains(['\0', '\r', '\n']) {
                return Err(invalid("has a line break or a NUL in its value".into()));
            }
            if value.len() > VALUE_BYTES_MAX {
                return Err(invalid(
                    format!("has a value of more than {VALUE_BYTES_MAX} bytes").into(),
                ));
            }
            if key == APP_NAME && value.contains(char::is_control) {
                return Err(invalid("has a control character in its value".into()));
            }
            if names_user_variable(&value) {
                return Err(refused(
                    key,
                    &value,
                    "its value names a variable by which Hadoop is told who the user is",
                ));
            }
            Ok(())
        }
        Some(b'{' | b'[') => {
            let problem = format!(
                "must have a string, a number, true or false, not {}",
                type_name(json)
            );
            Err(invalid(problem.into()))
        }
        _ => Ok(()),
    }
}

const fn is_key_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-')
}

/// What an application is called, if the creation has no name.
pub(super) const APP_NAME: &str = "spark.app.name";

const USER_VARIABLES: [&str; 2] = ["HADOOP_USER_NAME", "HADOOP_PROXY_USER"];
const SYNTAX: &str = "a key is 'spark.' and then letters, digits, '.', '_' or '-' only";
/// Linux hands a process no argument of more than 128 KiB.
const VALUE_BYTES_MAX: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    fn is_refused(key: &str) -> bool {
        matches!(judge_conf_key(key), ConfVerdict::Refuse(_))
    }

    #[test]
    fn keys_that_carry_identity_are_refused_in_any_case() {
        for key in [
            "livy.rsc.proxy-user",
            "livy.rsc.proxy_user",
            "livy.rsc.client.do-not-use.run-driver-in-process",
            "livy.rsc.client.do_not_use.run_driver_in_process",
            "livy.rsc.launcher.address",
            "livy.rsc.jars",
            "livy.rsc.server.idle_timeout",
            "livy.spark.master",
            "livy.impersonation.enabled",
            "spark.__livy__.livy.rsc.proxy_user",
            "spark.__livy__.x",
            "spark.master",
            "spark.submit.deployMode",
            "spark.submit.proxyUser.allowCustomClasspathInClusterMode",
            "spark.submit.pyFiles",
            "spark.kerberos.principal",
            "spark.kerberos.keytab",
            "spark.kerberos.access.hadoopFileSystems",
            "spark.yarn.principal",
            "spark.yarn.keytab",
            "spark.yarn.access.hadoopFileSystems",
            "spark.hadoop.hadoop.security.authentication",
            "spark.hadoop.hadoop.security.auth_to_local",
            "spark.kubernetes.kerberos.tokenSecret.name",
            "spark.yarn.appMasterEnv.HADOOP_USER_NAME",
            "spark.executorEnv.HADOOP_USER_NAME",
            "spark.kubernetes.driverEnv.HADOOP_USER_NAME",
            "spark.kubernetes.driver.secretKeyRef.HADOOP_USER_NAME",
            "spark.executorEnv.HADOOP_PROXY_USER",
            "spark.yarn.appMasterEnv.SPARK_USER",
            "spark.executorEnv.KRB5CCNAME",
            "spark.executorEnv.HADOOP_TOKEN_FILE_LOCATION",
            "spark.hadoop.hadoop.proxyuser.livy.hosts",
            "spark.hive.server2.proxy.user",
        ] {
            for spelling in [key.to_owned(), key.to_uppercase(), key.to_lowercase()] {
                assert!(is_refused(&spelling), "{spelling}");
            }
        }
    }

    #[test]
    fn ordinary_settings_are_kept() {
        for key in [
            "spark.executor.memory",
            "spark.dynamicAllocation.enabled",
            "spark.app.name",
            "spark.yarn.queue",
            "spark.sql.shuffle.partitions",
            "spark.driver.userClassPathFirst",
            "spark.jars",
            "spark.files",
            "spark.archives",
            "spark.yarn.dist.archives",
            "spark.serializer",
            "spark.eventLog.enabled",
            "spark.authorize",
            "spark.hadoopx.a",
        ] {
            assert_eq!(judge_conf_key(key), ConfVerdict::Keep, "{key}");
        }
    }

    #[test]
    fn what_reaches_the_host_or_weakens_a_session_is_refused_unless_opened_in_any_case() {
        for key in [
            "spark.driver.extraJavaOptions",
            "spark.executor.extraJavaOptions",
            "spark.yarn.am.extraJavaOptions",
            "spark.driver.defaultJavaOptions",
            "spark.driver.extraClassPath",
            "spark.executor.extraLibraryPath",
            "spark.plugins",
            "spark.plugins.defaultList",
            "spark.extraListeners",
            "spark.sql.extensions",
            "spark.sql.queryExecutionListeners",
            "spark.pyspark.python",
            "spark.pyspark.driver.python",
            "spark.r.command",
            "spark.r.driver.command",
            "spark.yarn.unmanagedAM.enabled",
            "spark.yarn.am.memory",
            "spark.jars.packages",
            "spark.jars.repositories",
            "spark.jars.ivySettings",
            "spark.jars.ivy",
            "spark.sql.hive.metastore.jars",
            "spark.yarn.appMasterEnv.PYSPARK_PYTHON",
            "spark.executorEnv.LD_PRELOAD",
            "spark.kubernetes.driverEnv.X",
            "spark.kubernetes.namespace",
            "spark.kubernetes.driver.podTemplateFile",
            "spark.kubernetes.authenticate.driver.serviceAccountName",
            "spark.hadoop.fs.defaultFS",
            "spark.hadoop.fs.azure.account.key.some-account.blob.core.windows.net",
            "spark.hadoop.hadoop.security.credential.provider.path",
            "spark.hive.metastore.uris",
            "spark.yarn.jars",
            "spark.yarn.archive",
            "spark.yarn.stagingDir",
            "spark.yarn.submit.waitAppCompletion",
            "spark.eventLog.dir",
            "spark.history.fs.logDirectory",
            "spark.local.dir",
            "spark.ui.proxyBase",
            "spark.ui.view.acls",
            "spark.acls.enable",
            "spark.admin.acls.groups",
            "spark.modify.acls",
            "spark.user.groups.mapping",
            "spark.redaction.regex",
            "spark.sql.redaction.options.regex",
            "spark.metrics.conf",
            "spark.ssl.enabled",
            "spark.authenticate",
            "spark.authenticate.secret",
            "spark.network.crypto.enabled",
            "spark.yarn.tags",
        ] {
            let verdict = judge_conf_key(key);
            assert!(matches!(verdict, ConfVerdict::Unsafe(_)), "{key}: {verdict:?}");
            // The prefix alone must have its case, or it is no key of Spark's.
            let shouted = format!("spark.{}", key.replacen("spark.", "", 1).to_uppercase());
            let verdict = judge_conf_key(&shouted);
            assert!(
                matches!(verdict, ConfVerdict::Unsafe(_)),
                "{shouted}: {verdict:?}"
            );
        }
    }

    #[test]
    fn what_livys_own_clients_say_about_themselves_is_dropped() {
        for key in [
            "livy.uri",
            "livy.client.http.connection.timeout",
            "livy.client.x",
            "LIVY.URI",
        ] {
            assert_eq!(judge_conf_key(key), ConfVerdict::Drop, "{key}");
        }
        for key in ["livy.uri.x", "livy.client", "livy.clients.x", "livy.uri "] {
            assert!(is_refused(key), "{key}");
        }
    }

    #[test]
    fn a_key_that_spark_submit_could_split_or_trim_is_refused() {
        for key in [
            "",
            "spark",
            "spark.",
            " spark.a",
            "spark.a ",
            "spark.a\n",
            "spark.a=b",
            "spark.driver.extraJavaOptions=-javaagent:/x.jar",
            "spark.a,b",
            "spark.a/b",
            "spark.\u{430}",
            "spark.mas\u{212a}er",
            "Spark.executor.memory",
            "hive.x",
            "--conf",
        ] {
            assert!(is_refused(key), "{key:?}");
        }
    }

    #[test]
    fn values_are_scalars_and_stay_as_they_were_written() {
        let kept = check(r#"{"spark.a":false,"spark.b":1.10,"spark.c":"\u0078","spark.d":null}"#).unwrap();
        assert_eq!(
            kept.to_string(),
            r#"{"spark.a":false,"spark.b":1.10,"spark.c":"\u0078"}"#
        );
        for value in [
            "{}",
            "[]",
            "[\"a\"]",
            r#""a\nb""#,
            r#""a\u0000""#,
            r#""a\r""#,
            r#""\ud800""#,
        ] {
            let body = format!("{{\"spark.a\":{value}}}");
            assert!(matches!(check(&body), Err(Denial::InvalidBody(_))), "{value}");
        }
    }

    #[test]
    fn a_null_does_not_excuse_a_key_that_is_refused() {
        assert!(matches!(
            check(r#"{"spark.master":null}"#),
            Err(Denial::ConfRefused { .. })
        ));
    }

    #[test]
    fn hadoops_user_cannot_be_set_through_java_options_or_another_variable() {
        for (key, value) in [
            ("spark.driver.extraJavaOptions", "-Xmx1g -DHADOOP_USER_NAME=hdfs"),
            ("spark.executorEnv.JAVA_TOOL_OPTIONS", "-Dhadoop_proxy_user=bob"),
            ("spark.a", r"-DHADOOP\u005fUSER_NAME=hdfs"),
        ] {
            let body = format!("{{\"{key}\":\"{value}\"}}");
            assert!(matches!(check(&body), Err(Denial::ConfRefused { .. })), "{body}");
        }
    }
}
