//! Compares what a page shows with what came.

/// Stands for any text, or alone on its line for any number of lines.
const ANY: &str = "…";

/// How what came relates to what is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is what is shown.
    Same,
    /// It may become what is shown when more comes.
    Begun,
    /// It differs, whatever comes.
    Differs,
}

/// Compares lines; blank lines and space at the ends of lines do not count.
pub(crate) fn compare(shown: &[String], came: &[String]) -> Verdict {
    lines(&solid(shown), &solid(came))
}

fn solid(lines: &[String]) -> Vec<&str> {
    let trimmed = lines.iter().map(|line| line.trim());
    trimmed.filter(|line| !line.is_empty()).collect()
}

fn lines(shown: &[&str], came: &[&str]) -> Verdict {
    match (shown.split_first(), came.split_first()) {
        (None, None) => Verdict::Same,
        (None, Some(_)) => Verdict::Differs,
        (Some((&ANY, rest)), _) => (0..=came.len())
            .map(|skipped| lines(rest, came.get(skipped..).unwrap_or_default()))
            .find(|verdict| *verdict == Verdict::Same)
            .unwrap_or(Verdict::Begun),
        (Some(_), None) => Verdict::Begun,
        (Some((want, more)), Some((have, rest))) if line(want, have) => lines(more, rest),
        (Some(_), Some(_)) => Verdict::Differs,
    }
}

fn line(shown: &str, came: &str) -> bool {
    let mut pieces = shown.split('…');
    let first = pieces.next().unwrap_or_default();
    let Some(mut rest) = came.strip_prefix(first) else {
        return false;
    };
    let Some(last) = pieces.next_back() else {
        return rest.is_empty();
    };
    for piece in pieces {
        let Some((_, behind)) = rest.split_once(piece) else {
            return false;
        };
        rest = behind;
    }
    rest.ends_with(last)
}

#[test]
fn dots_stand_for_any_text_and_nothing_else_does() {
    let text = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
    for (shown, came, expected) in [
        ("a", "a", Verdict::Same),
        ("a", " a \n\n", Verdict::Same),
        ("a", "b", Verdict::Differs),
        ("a\nb", "a", Verdict::Begun),
        ("a", "a\nb", Verdict::Differs),
        ("", "a", Verdict::Differs),
        ("01…", "019-7", Verdict::Same),
        ("01…", "119-7", Verdict::Differs),
        ("… b … d", "a b c d", Verdict::Same),
        ("… b … d", "a b c e", Verdict::Differs),
        ("…\nb", "x\ny\nb", Verdict::Same),
        ("…\nb", "x\ny", Verdict::Begun),
        ("a\n…", "a", Verdict::Same),
        ("b\n…", "a", Verdict::Differs),
    ] {
        assert_eq!(
            compare(&text(shown), &text(came)),
            expected,
            "{shown:?} {came:?}"
        );
    }
}
