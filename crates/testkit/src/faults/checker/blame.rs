//! Which fault pays for which further run: a matching, since several may explain the same one, and
//! each may cost only so much.

/// A run that some faults explain.
#[derive(Debug)]
pub(super) struct Extra<'a> {
    /// The task.
    pub(super) id: &'a str,
    /// The places of the faults that explain it.
    pub(super) suspects: Vec<usize>,
}

/// What each fault pays for, so that as many runs as possible are paid.
#[derive(Debug)]
pub(super) struct Blame {
    /// For each fault the places of the runs that it pays for.
    pub(super) paid: Vec<Vec<usize>>,
    /// The places of the runs that nobody can pay for.
    pub(super) unpaid: Vec<usize>,
}

/// Finds who pays, with the most that each fault may cost.
pub(super) fn share(extras: &[Extra<'_>], purses: &[usize]) -> Blame {
    let mut blame = Blame {
        paid: vec![Vec::new(); purses.len()],
        unpaid: Vec::new(),
    };
    for extra in 0..extras.len() {
        let mut asked = vec![false; purses.len()];
        if !pay(extra, extras, purses, &mut blame.paid, &mut asked) {
            blame.unpaid.push(extra);
        }
    }
    blame
}

/// Has somebody pay for a run, by others taking over what he pays for where his purse is empty.
fn pay(
    extra: usize,
    extras: &[Extra<'_>],
    purses: &[usize],
    paid: &mut [Vec<usize>],
    asked: &mut [bool],
) -> bool {
    for &fault in &extras[extra].suspects {
        if std::mem::replace(&mut asked[fault], true) {
            continue;
        }
        if paid[fault].len() < purses[fault] {
            paid[fault].push(extra);
            return true;
        }
        for place in 0..paid[fault].len() {
            if pay(paid[fault][place], extras, purses, paid, asked) {
                paid[fault][place] = extra;
                return true;
            }
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unpaid(suspects: &[&[usize]], purses: &[usize]) -> Vec<usize> {
        let extras: Vec<Extra<'_>> = suspects
            .iter()
            .map(|suspects| Extra {
                id: "",
                suspects: suspects.to_vec(),
            })
            .collect();
        share(&extras, purses).unpaid
    }

    #[test]
    fn whoever_can_pay_for_others_leaves_room_for_those_that_only_one_explains() {
        assert!(unpaid(&[&[0, 1], &[0]], &[1, 1]).is_empty());
        // Along a chain: each takes over what the one before must let go.
        assert!(unpaid(&[&[0, 1], &[1, 2], &[0], &[1]], &[1, 1, 1]).len() == 1);
        assert!(unpaid(&[&[0, 1], &[1, 2], &[0]], &[1, 1, 1]).is_empty());
        assert_eq!(unpaid(&[&[0], &[0], &[0]], &[2]), [2]);
        assert_eq!(unpaid(&[&[]], &[2]), [0]);
    }
}
