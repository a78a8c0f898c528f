use super::*;

fn rate(text: &str) -> Rate {
    text.parse().unwrap()
}

#[test]
fn rates_are_written_as_a_count_and_a_unit() {
    for (text, per) in [("100/s", SECOND), ("20/min", MINUTE), ("1/h", HOUR)] {
        assert_eq!((rate(text).per, rate(text).to_string().as_str()), (per, text));
        assert_eq!(rate(text).burst(), rate(text).count);
    }
    for text in [
        "",
        "10",
        "/s",
        "0/s",
        "-1/s",
        "+1/s",
        "1.5/s",
        "10/sec",
        "10 / s",
        "99999999999/s",
    ] {
        assert!(Rate::from_str(text).unwrap_err().contains("is no rate"), "{text}");
    }
}
