//! Jinja as transformers configures it: filters, tests, functions and methods with Python's results, all bounded.

use std::fmt::Write;

use minijinja::value::{Kwargs, Rest, ValueKind, from_args};
use minijinja::{Environment, Error, ErrorKind, State, Value, context};
use minijinja_contrib::pycompat;

use super::bounds::{Budget, LONGEST, LONGEST_LIST, fuel, too_much};
use super::python::write_str;
use super::{clock, json};

/// The functions that compute the operators `~`, `+` and `*`.
pub(super) const OPERATORS: [&str; 3] = ["__concatenate", "__add", "__multiply"];

/// Filters that transformers' Jinja has too, but whose results are not bounded. No known template uses them.
const UNBOUNDED: [&str; 8] = ["urlencode", "pprint", "format", "batch", "slice", "zip", "chain", "lines"];

/// Names that a template's calls may be nested in.
const RECURSION: usize = 200;

/// An environment for a template whose longest text outside tags has `longest` bytes.
pub(super) fn environment(longest: usize) -> Environment<'static> {
    let budget = Budget::new();
    let mut environment = Environment::new();
    environment.set_recursion_limit(RECURSION);
    environment.set_fuel(Some(fuel(longest)));
    UNBOUNDED.into_iter().for_each(|name| environment.remove_filter(name));
    add_texts(&mut environment, &budget);
    add_operators(&mut environment, &budget);
    add_tests(&mut environment);
    environment.add_function("raise_exception", |message: String| -> Result<String, Error> {
        Err(Error::new(ErrorKind::InvalidOperation, message))
    });
    environment.add_function("strftime_now", |format: String| {
        clock::strftime_now(&format).map_err(|why| Error::new(ErrorKind::InvalidOperation, why))
    });
    environment.set_unknown_method_callback(move |state, value, method, args| {
        match (value.as_str(), method) {
            (Some(text), "replace") => {
                let (old, new, count): (String, String, Option<i64>) = from_args(args)?;
                replace(&budget, text, &old, &new, count).map(Value::from)
            }
            (Some(separator), "join") => {
                let (items,): (Value,) = from_args(args)?;
                join(&budget, &items, separator, None).map(Value::from)
            }
            (Some(text), "removeprefix") => {
                let (prefix,): (String,) = from_args(args)?;
                Ok(Value::from(text.strip_prefix(prefix.as_str()).unwrap_or(text)))
            }
            (Some(text), "removesuffix") => {
                let (suffix,): (String,) = from_args(args)?;
                Ok(Value::from(text.strip_suffix(suffix.as_str()).unwrap_or(text)))
            }
            (Some(_), "format") => Err(Error::new(ErrorKind::InvalidOperation, "`format` is not supported")),
            _ => pycompat::unknown_method_callback(state, value, method, args),
        }
    });
    environment
}

/// What writes texts.
fn add_texts(environment: &mut Environment<'static>, budget: &Budget) {
    let own = budget.clone();
    environment.set_formatter(move |out, _: &State, value| {
        let text = own.text(|text| write_str(text, value))?;
        Ok(out.write_str(&text)?)
    });
    let own = budget.clone();
    environment.add_filter("string", move |value: Value| own.text(|text| write_str(text, &value)));
    let own = budget.clone();
    environment.add_filter("tojson", move |value: Value, rest: Rest<Value>| {
        let (given, kwargs): (&[Value], Kwargs) = from_args(&rest)?;
        json::tojson(&own, &value, given, &kwargs)
    });
    let own = budget.clone();
    environment.add_filter("join", move |items: Value, rest: Rest<Value>| {
        let (separator, attribute, kwargs): (Option<String>, Option<String>, Kwargs) = from_args(&rest)?;
        let separator = separator.or(kwargs.get("d")?).unwrap_or_default();
        let attribute = attribute.or(kwargs.get("attribute")?);
        kwargs.assert_all_used()?;
        join(&own, &items, &separator, attribute.as_deref())
    });
    let own = budget.clone();
    environment.add_filter("replace", move |text: Value, old: String, new: String, count: Option<i64>| {
        let text = own.text(|out| write_str(out, &text))?;
        replace(&own, &text, &old, &new, count)
    });
    let own = budget.clone();
    environment.add_filter("indent", move |text: String, rest: Rest<Value>| {
        let (width, first, blank, kwargs): (Option<Value>, Option<bool>, Option<bool>, Kwargs) =
            from_args(&rest)?;
        let width = width.or(kwargs.get("width")?).unwrap_or(Value::from(4));
        let first = first.or(kwargs.get("first")?).unwrap_or_default();
        let blank = blank.or(kwargs.get("blank")?).unwrap_or_default();
        kwargs.assert_all_used()?;
        indent(&own, &text, &width, first, blank)
    });
    let own = budget.clone();
    environment.add_filter("trim", move |value: Value, characters: Option<String>| {
        let text = own.text(|text| write_str(text, &value))?;
        Ok::<_, Error>(match characters {
            Some(characters) => text.trim_matches(|c| characters.contains(c)).to_owned(),
            None => text.trim().to_owned(),
        })
    });
    for (name, change) in [("upper", str::to_uppercase as fn(&str) -> String), ("lower", str::to_lowercase)] {
        let own = budget.clone();
        environment.add_filter(name, move |value: Value| {
            own.text(|text| write_str(text, &value)).map(|text| change(&text))
        });
    }
    for name in ["escape", "e"] {
        let own = budget.clone();
        environment.add_filter(name, move |value: Value| {
            let plain = own.text(|text| write_str(text, &value))?;
            own.text(|text| {
                plain.chars().try_for_each(|c| match c {
                    '&' => text.write_str("&amp;"),
                    '<' => text.write_str("&lt;"),
                    '>' => text.write_str("&gt;"),
                    '"' => text.write_str("&#34;"),
                    '\'' => text.write_str("&#39;"),
                    c => text.write_char(c),
                })
            })
        });
    }
}

/// The operators whose results may be longer than their operands.
fn add_operators(environment: &mut Environment<'static>, budget: &Budget) {
    let [concatenate, add, multiply] = OPERATORS;
    let own = budget.clone();
    environment.add_function(concatenate, move |a: Value, b: Value| {
        own.text(|text| write_str(text, &a).and_then(|()| write_str(text, &b)))
    });
    let own = budget.clone();
    environment.add_function(add, move |state: &State, a: Value, b: Value| match (a.as_str(), b.as_str()) {
        (Some(a), Some(b)) => {
            own.text(|text| text.write_str(a).and_then(|()| text.write_str(b))).map(Value::from)
        }
        _ if is_list(&a) && is_list(&b) && length(&a).saturating_add(length(&b)) > LONGEST_LIST => {
            Err(too_much("makes a list that is too long"))
        }
        _ => state.env().compile_expression("a + b")?.eval(context! { a, b }),
    });
    environment.add_function(multiply, move |state: &State, a: Value, b: Value| {
        let times = |value: &Value| value.as_usize().unwrap_or_default();
        let longest = |value: &Value, by: &Value, most: usize| length(value).saturating_mul(times(by)) > most;
        let text = |value: &Value, by: &Value| value.as_str().is_some() && longest(value, by, LONGEST);
        let list = |value: &Value, by: &Value| is_list(value) && longest(value, by, LONGEST_LIST);
        if text(&a, &b) || text(&b, &a) || list(&a, &b) || list(&b, &a) {
            return Err(too_much("makes a text or a list that is too long"));
        }
        state.env().compile_expression("a * b")?.eval(context! { a, b })
    });
}

/// Python calls texts and objects iterable and sequences too, and truth values numbers.
fn add_tests(environment: &mut Environment<'static>) {
    use ValueKind::{Bool, Bytes, Iterable, Map, Number, Seq, String, Undefined};
    environment.add_test("iterable", |value: Value| {
        matches!(value.kind(), String | Bytes | Seq | Iterable | Map | Undefined)
    });
    environment.add_test("sequence", |value: Value| {
        matches!(value.kind(), String | Bytes | Seq | Map | Undefined) || value.len().is_some()
    });
    environment.add_test("number", |value: Value| matches!(value.kind(), Number | Bool));
}

fn is_list(value: &Value) -> bool {
    matches!(value.kind(), ValueKind::Seq | ValueKind::Iterable)
}

/// In items, or for a text in bytes.
fn length(value: &Value) -> usize {
    value.as_str().map_or_else(|| value.len().unwrap_or_default(), str::len)
}

fn join(budget: &Budget, items: &Value, separator: &str, attribute: Option<&str>) -> Result<String, Error> {
    let mut parts = items.try_iter()?;
    let mut failed = None;
    let text = budget.text(|text| {
        for (number, item) in parts.by_ref().enumerate() {
            text.write_str(if number == 0 { "" } else { separator })?;
            let item = attribute.map_or(Ok(item.clone()), |attribute| {
                attribute.split('.').try_fold(item.clone(), |value, name| value.get_attr(name))
            });
            match item {
                Ok(item) => write_str(text, &item)?,
                Err(error) => {
                    failed = Some(error);
                    return Ok(());
                }
            }
        }
        Ok(())
    })?;
    failed.map_or(Ok(text), Err)
}

/// As Python's `str.replace`; a negative count means all.
fn replace(budget: &Budget, text: &str, old: &str, new: &str, count: Option<i64>) -> Result<String, Error> {
    let most = count.and_then(|count| usize::try_from(count).ok()).unwrap_or(usize::MAX);
    budget.text(|out| {
        let mut end = 0;
        for (at, found) in text.match_indices(old).take(most) {
            out.write_str(&text[end..at])?;
            out.write_str(new)?;
            end = at + found.len();
        }
        out.write_str(&text[end..])
    })
}

/// As Jinja's `indent`: `width` is a number of spaces or a text.
fn indent(budget: &Budget, text: &str, width: &Value, first: bool, blank: bool) -> Result<String, Error> {
    let by = match (width.as_str(), usize::try_from(width.clone())) {
        (Some(by), _) => by.to_owned(),
        (None, Ok(width)) if width <= LONGEST => " ".repeat(width),
        (None, _) => return Err(too_much("indents by too much")),
    };
    budget.text(|out| {
        for (number, line) in text.split('\n').enumerate() {
            out.write_str(if number == 0 { "" } else { "\n" })?;
            let indented = if number == 0 { first } else { blank || !line.is_empty() };
            out.write_str(if indented { &by } else { "" })?;
            out.write_str(line)?;
        }
        Ok(())
    })
}
