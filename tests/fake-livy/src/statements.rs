//! What statements compute: integer arithmetic, printing, a little SQL; anything else is echoed.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::value::RawValue;

/// What a statement does when it runs.
#[derive(Debug, Clone)]
pub(crate) enum Outcome {
    /// It ends with this output, which is written as the driver wrote it, key order and all.
    Ends(Box<RawValue>),
    /// It runs until it is cancelled.
    Runs,
}

#[derive(Serialize)]
struct Success {
    status: &'static str,
    execution_count: usize,
    data: Box<RawValue>,
}

#[derive(Serialize)]
struct Failed {
    status: &'static str,
    execution_count: usize,
    ename: &'static str,
    evalue: &'static str,
    traceback: [String; 3],
}

/// Runs code of one of Livy's kinds; `number` is the statement's.
pub(crate) fn run(kind: &str, code: &str, number: usize) -> Outcome {
    if code.contains("sleep(") {
        return Outcome::Runs;
    }
    let plain = |text: &str| raw(&BTreeMap::from([("text/plain", text)]));
    let computed = match kind {
        "sql" => sql(code),
        "spark" | "scala" => scalar(code).map(|value| Ok(plain(&format!("res{number}: Int = {}\n", value?)))),
        _ => scalar(code).map(|value| Ok(plain(&value?))),
    };
    Outcome::Ends(match computed.unwrap_or_else(|| Ok(plain(code))) {
        Ok(data) => raw(&Success {
            status: "ok",
            execution_count: number,
            data,
        }),
        Err((ename, evalue)) => raw(&Failed {
            status: "error",
            execution_count: number,
            ename,
            evalue,
            traceback: [
                "Traceback (most recent call last):\n".to_owned(),
                "  File \"<stdin>\", line 1, in <module>\n".to_owned(),
                format!("{ename}: {evalue}\n"),
            ],
        }),
    })
}

fn raw(value: &impl Serialize) -> Box<RawValue> {
    serde_json::value::to_raw_value(value).expect("what this crate computes is serializable")
}

type Failure = (&'static str, &'static str);

#[derive(Serialize)]
struct Table<'a> {
    schema: Schema<'a>,
    data: [[i64; 1]; 1],
}

#[derive(Serialize)]
struct Schema<'a> {
    r#type: &'static str,
    fields: [Field<'a>; 1],
}

#[derive(Serialize)]
struct Field<'a> {
    name: &'a str,
    r#type: &'static str,
    nullable: bool,
    metadata: BTreeMap<&'static str, ()>,
}

/// `select EXPRESSION [as NAME]`, one row of one column.
fn sql(code: &str) -> Option<Result<Box<RawValue>, Failure>> {
    let code = code.trim().trim_end_matches(';');
    let (_, rest) = code
        .split_at_checked(7)
        .filter(|(word, _)| word.eq_ignore_ascii_case("select "))?;
    let (expression, name) = rest.rsplit_once(" as ").unwrap_or((rest, rest));
    arithmetic(expression).map(|value| {
        let field = Field {
            name: name.trim(),
            r#type: "integer",
            nullable: true,
            metadata: BTreeMap::new(),
        };
        let schema = Schema {
            r#type: "struct",
            fields: [field],
        };
        Ok(raw(&BTreeMap::from([(
            "application/json",
            Table {
                schema,
                data: [[value?]],
            },
        )])))
    })
}

/// An expression, or a `print` of one or of a string literal.
fn scalar(code: &str) -> Option<Result<String, Failure>> {
    let code = code.trim();
    let inner = ["print(", "println("]
        .iter()
        .find_map(|call| code.strip_prefix(call)?.strip_suffix(')'));
    if let Some(inner) = inner {
        let inner = inner.trim();
        for quote in ['"', '\''] {
            let literal = inner
                .strip_prefix(quote)
                .and_then(|rest| rest.strip_suffix(quote));
            if let Some(literal) = literal.filter(|literal| !literal.contains(quote)) {
                return Some(Ok(literal.to_owned()));
            }
        }
    }
    arithmetic(inner.unwrap_or(code)).map(|value| value.map(|value| value.to_string()))
}

/// The value of an expression of integers, `+ - * / // %` and parentheses; nothing if it is none.
fn arithmetic(text: &str) -> Option<Result<i64, Failure>> {
    let mut expression = Expression {
        rest: text.trim(),
        divided_by_zero: false,
    };
    let value = expression.sum(0)?;
    if !expression.rest.trim().is_empty() {
        return None;
    }
    Some(if expression.divided_by_zero {
        Err(("ZeroDivisionError", "division by zero"))
    } else {
        Ok(value)
    })
}

struct Expression<'a> {
    rest: &'a str,
    divided_by_zero: bool,
}

impl Expression<'_> {
    fn take(&mut self, token: &str) -> bool {
        let trimmed = self.rest.trim_start();
        let taken = trimmed.strip_prefix(token);
        self.rest = taken.unwrap_or(trimmed);
        taken.is_some()
    }

    fn sum(&mut self, depth: u32) -> Option<i64> {
        let mut value = self.product(depth)?;
        loop {
            if self.take("+") {
                value = value.checked_add(self.product(depth)?)?;
            } else if self.take("-") {
                value = value.checked_sub(self.product(depth)?)?;
            } else {
                return Some(value);
            }
        }
    }

    fn product(&mut self, depth: u32) -> Option<i64> {
        let mut value = self.factor(depth)?;
        loop {
            let divides = self.take("//") || self.take("/");
            if divides || self.take("%") {
                let right = self.factor(depth)?;
                self.divided_by_zero |= right == 0;
                let right = if right == 0 { 1 } else { right };
                value = if divides {
                    value.checked_div(right)?
                } else {
                    value.checked_rem(right)?
                };
            } else if self.take("*") {
                value = value.checked_mul(self.factor(depth)?)?;
            } else {
                return Some(value);
            }
        }
    }

    fn factor(&mut self, depth: u32) -> Option<i64> {
        // Statements come from strangers; the stack is finite.
        if depth > 64 {
            return None;
        }
        if self.take("(") {
            let value = self.sum(depth + 1)?;
            return self.take(")").then_some(value);
        }
        if self.take("-") {
            return self.factor(depth + 1)?.checked_neg();
        }
        let length = self.rest.bytes().take_while(u8::is_ascii_digit).count();
        let (digits, rest) = self.rest.split_at(length);
        self.rest = rest;
        digits.parse().ok()
    }
}
