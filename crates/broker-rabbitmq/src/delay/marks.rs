//! What the ladder leaves on a task that went through it is taken off where the task comes in. Pure.
//!
//! RabbitMQ writes down each queue that a message was dead-lettered from. That a task was kept back
//! says nothing about it; that it died in a queue of its own does, and is left.

use super::ladder::PREFIX;
use pumasi_common::task::{HeaderValue, Headers};

/// One entry for each queue, the latest first.
const DEATHS: &str = "x-death";

/// The headers without the ladder's marks.
pub(crate) fn taken_off(headers: Headers) -> Headers {
    if headers.get(DEATHS).is_none() {
        return headers;
    }
    let of_ladder = |which: &str| {
        let queue = headers.get(&format!("x-{which}-death-queue"));
        queue.is_some_and(is_of_ladder)
    };
    let (first, last) = (of_ladder("first"), of_ladder("last"));
    headers
        .into_iter()
        .filter_map(|(name, value)| match (name.as_str(), value) {
            (DEATHS, HeaderValue::List(mut deaths)) => {
                deaths.retain(|death| !is_death_in_ladder(death));
                (!deaths.is_empty()).then_some((name, HeaderValue::List(deaths)))
            }
            (known, _) if first && known.starts_with("x-first-death-") => None,
            (known, _) if last && known.starts_with("x-last-death-") => None,
            (_, value) => Some((name, value)),
        })
        .collect()
}

fn is_death_in_ladder(death: &HeaderValue) -> bool {
    matches!(death, HeaderValue::Table(death) if death.get("queue").is_some_and(is_of_ladder))
}

fn is_of_ladder(queue: &HeaderValue) -> bool {
    queue.as_text().is_some_and(|name| name.starts_with(PREFIX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn death(queue: &str) -> HeaderValue {
        HeaderValue::Table([("queue".to_owned(), queue.into())].into_iter().collect())
    }

    fn headers(deaths: &[&str], first: &str, last: &str) -> Headers {
        let deaths = deaths.iter().map(|queue| death(queue)).collect();
        let named = |name: &str, value: HeaderValue| (name.to_owned(), value);
        [
            named("x-death", HeaderValue::List(deaths)),
            named("x-first-death-queue", first.into()),
            named("x-first-death-reason", "expired".into()),
            named("x-last-death-queue", last.into()),
            named("own", "kept".into()),
        ]
        .into_iter()
        .collect()
    }

    fn names(headers: &Headers) -> Vec<&str> {
        headers.iter().map(|(name, _)| name).collect()
    }

    #[test]
    fn a_task_that_was_only_kept_back_has_no_marks() {
        let levels = ["pumasi.delay.00", "pumasi.delay.02"];
        let left = taken_off(headers(&levels, levels[1], levels[0]));
        assert_eq!(names(&left), ["own"]);
    }

    #[test]
    fn a_death_in_a_queue_of_its_own_is_left() {
        let left = taken_off(headers(
            &["work", "pumasi.delay.00"],
            "pumasi.delay.00",
            "work",
        ));
        assert_eq!(names(&left), ["x-death", "x-last-death-queue", "own"]);
        let expected = HeaderValue::List(vec![death("work")]);
        assert_eq!(left.get("x-death"), Some(&expected));
    }

    #[test]
    fn what_somebody_else_wrote_under_these_names_is_left() {
        let mut odd = Headers::default();
        odd.set("x-death", "text".into());
        assert_eq!(taken_off(odd.clone()), odd);
    }
}
