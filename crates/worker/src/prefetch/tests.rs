//! The window for tasks of every length, and mixes of them.

use super::*;

const NO_OP: Duration = Duration::from_micros(5);

fn window(concurrency: u16) -> Window {
    Window::new(NonZeroU16::new(concurrency).unwrap(), 1)
}

fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

/// Has it see this many runs, one by one.
fn run(window: &mut Window, count: usize, took: Duration) {
    for _ in 0..count {
        window.ran(1, took, 256);
    }
}

#[test]
fn the_window_follows_how_long_tasks_run() {
    // Concurrency, time of a run, and what the window comes to.
    for (concurrency, took, expected) in [
        (4, Duration::ZERO, 1_024),
        (4, NO_OP, 1_024),
        (1, NO_OP, 1_024),
        (1, ms(1), 21),
        (4, ms(1), 84),
        (4, ms(10), 12),
        (4, ms(19), 8),
        (4, ms(20), 4),
        (4, ms(21), 4),
        (4, ms(1_000), 4),
        (1, ms(3_600_000), 1),
        (2_000, NO_OP, 2_000),
    ] {
        let mut window = window(concurrency);
        run(&mut window, 5_000, took);
        // What is nearly right is left as it is.
        let (now, target) = (window.now, window.target());
        assert_eq!(target, expected, "{concurrency} × {took:?}");
        assert!(
            now <= target && now * 2 > target || now == target,
            "{concurrency} × {took:?}: {now} for {target}"
        );
    }
}

#[test]
fn no_op_tasks_have_their_window_within_a_few_hundred_runs() {
    let mut window = window(4);
    run(&mut window, 400, NO_OP);
    assert_eq!(window.now, 1_024);
}

#[test]
fn one_run_that_the_machine_held_up_changes_nothing() {
    let mut window = window(4);
    run(&mut window, 1_000, NO_OP);
    run(&mut window, 1, ms(20));
    run(&mut window, 1_000, NO_OP);
    assert_eq!(window.now, 1_024);
}

#[test]
fn a_dozen_slow_runs_close_the_widest_window() {
    for concurrency in [1, 2, 4, 16] {
        let mut window = window(concurrency);
        run(&mut window, 5_000, NO_OP);
        assert!(window.is_wide());
        let mut slow = 0;
        while window.is_wide() {
            run(&mut window, 1, ms(1_000));
            slow += 1;
        }
        assert!(slow <= 12, "{concurrency}: {slow}");
    }
}

#[test]
fn who_waited_behind_slow_tasks_is_fair_for_hundreds_of_runs() {
    let mut window = window(1);
    run(&mut window, 5_000, ms(1));
    assert!(window.narrow());
    assert_eq!(window.now().get(), 1);
    assert!(!window.narrow());
    run(&mut window, 300, NO_OP);
    assert_eq!(window.now().get(), 1);
    run(&mut window, 5_000, NO_OP);
    assert_eq!(window.now().get(), 1_024);
}

#[test]
fn a_mix_with_one_slow_task_in_a_hundred_stays_narrow_once_it_stalled() {
    let mut window = window(1);
    let mut wide = 0;
    for number in 0..10_000 {
        let slow = number % 100 == 50;
        if slow {
            window.narrow();
        }
        run(&mut window, 1, if slow { ms(1_000) } else { ms(1) });
        wide += usize::from(number > 1_000 && window.is_wide());
    }
    assert_eq!(wide, 0);
}

#[test]
fn large_payloads_bound_what_is_held() {
    let mut window = window(4);
    for _ in 0..5_000 {
        window.ran(1, NO_OP, 1024 * 1024);
    }
    assert!(window.now <= 16, "{window:?}");
    for _ in 0..5_000 {
        window.ran(1, NO_OP, 100 * 1024 * 1024);
    }
    assert_eq!(window.now, 4);
}

#[test]
fn queues_share_what_a_worker_holds() {
    let mut window = Window::new(NonZeroU16::new(4).unwrap(), 100);
    run(&mut window, 5_000, NO_OP);
    assert_eq!(window.now().get(), 10);
}

/// Whatever is run, what is held beyond the handlers is at most what the mean run allows, twice.
#[test]
fn nothing_is_held_that_the_mean_run_does_not_allow() {
    for seed in 0..200 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let concurrency = rng.u16(1..100);
        let mut window = window(concurrency);
        let mut scale = 1;
        for _ in 0..2_000 {
            if rng.u8(..) < 4 {
                scale = 10_u64.pow(rng.u32(0..7));
            }
            if rng.u8(..) == 0 {
                window.narrow();
            }
            let runs = rng.u64(1..64);
            let took = Duration::from_micros(runs * rng.u64(1..=scale));
            window.ran(runs, took, rng.u64(..100_000));
            let least = u32::from(concurrency);
            assert!(window.now >= least && window.now <= window.most());
            assert!(window.now < window.target() * 2, "seed {seed}: {window:?}");
            if window.run >= nanos(WAIT_MAX) {
                assert_eq!(window.now, least, "seed {seed}: {window:?}");
            }
        }
    }
}

#[test]
fn runs_are_seen_once() {
    let (runs, mut seen) = (Runs::default(), Seen::default());
    runs.add(ms(3));
    runs.add(ms(4));
    assert_eq!(runs.since(&mut seen), (2, ms(7)));
    assert_eq!(runs.since(&mut seen), (0, Duration::ZERO));
    runs.add(ms(1));
    assert_eq!(runs.since(&mut seen), (1, ms(1)));
}
