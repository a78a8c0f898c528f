//! Packages that are asked for in name only.

use super::*;

#[test]
fn an_empty_list_of_packages_is_left_out_and_one_that_is_not_is_no_way_around_the_rule() {
    let rules = BodyRules::default();
    let livyc = r#"{"conf":{"spark.jars.ivy":"/opt/ivy","spark.jars.packages":"","spark.a":"1"}}"#;
    assert_eq!(
        outcome(livyc, SESSION, &rules).unwrap(),
        r#"{"conf":{"spark.a":"1"}}"#
    );
    for asking in [
        r#"{"conf":{"spark.jars.ivy":"/opt/ivy","spark.jars.packages":"org.x:y:1"}}"#,
        r#"{"conf":{"spark.jars.ivy":"/opt/ivy","spark.jars.packages":"","spark.jars.ivySettings":"/x"}}"#,
        r#"{"conf":{"spark.jars.Packages":"org.x:y:1"}}"#,
    ] {
        assert!(
            matches!(outcome(asking, SESSION, &rules), Err(Denial::ConfRefused { .. })),
            "{asking}"
        );
    }
}

#[test]
fn a_folder_for_packages_is_not_left_out_where_the_operator_opened_it_or_names_packages() {
    let ivy = r#"{"conf":{"spark.jars.ivy":"/opt/ivy"}}"#;
    let opened = with_conf(ConfRules {
        allow_unsafe: vec![KeyPattern::opening("spark.jars.ivy").unwrap()],
        ..ConfRules::default()
    });
    assert_eq!(outcome(ivy, SESSION, &opened).unwrap(), ivy);
    let named = with_conf(ConfRules {
        default: settings(&[("spark.jars.packages", "org.x:y:1")]),
        ..ConfRules::default()
    });
    assert!(matches!(
        outcome(ivy, SESSION, &named),
        Err(Denial::ConfRefused { .. })
    ));
}
