//! A test of the tests: each deliberate fault of a replica makes one of them fail.

use std::panic::catch_unwind;

use super::{ahead, ends, exchange, faults, held, membership, opening};
use crate::replica::Fault;

/// The test that a fault makes fail.
fn caught_by(fault: Fault) -> fn() {
    match fault {
        Fault::PushedBeforeCommit | Fault::AcknowledgedBeforeCommit => {
            exchange::nothing_is_sent_before_its_barrier
        }
        Fault::MarkedBeforeCommit => exchange::an_author_learns_who_has_its_saves,
        Fault::CheckpointAheadOfJournal => {
            opening::no_checkpoint_is_put_out_while_what_it_holds_is_on_its_way
        }
        Fault::EndUnsealed => exchange::a_large_history_comes_in_sealed_ranges,
        Fault::SeenUnnamed | Fault::DependenciesUnchecked | Fault::HeldNeverWoken => {
            held::a_change_set_waits_for_what_it_depends_on_and_that_is_asked_for
        }
        Fault::EventTwice | Fault::EventForgotten => {
            exchange::what_comes_twice_changes_nothing_and_emits_nothing
        }
        Fault::SequenceReused | Fault::TailUnmerged => {
            opening::a_life_goes_on_where_the_last_one_ended_under_a_fresh_origin
        }
        Fault::ClockForgotten => {
            opening::a_clock_that_was_set_back_makes_ids_that_rise_all_the_same
        }
        Fault::EndsForgotten | Fault::ForkUnnoticed => {
            ends::of_three_histories_the_first_difference_counts_whoever_meets_whom_first
        }
        Fault::SealUnverified => faults::a_relay_can_neither_change_nor_cut_nor_append,
        Fault::RefusedForGood => {
            membership::what_a_stranger_wrote_is_not_taken_until_it_is_a_member
        }
        Fault::FutureApplied | Fault::FutureMovesClock => {
            held::what_is_far_ahead_waits_harms_nobody_and_is_applied_when_the_clock_gets_there
        }
        Fault::FutureKept => ahead::what_was_saved_ahead_is_held_once_the_clock_is_right,
        Fault::AgainForgotten => ahead::a_repair_that_is_interrupted_anywhere_is_finished_once,
        Fault::DroppedOnFullQueue => {
            exchange::what_does_not_fit_the_push_window_is_found_all_the_same
        }
        Fault::NeverComparedAgain | Fault::SetBackUnnoticed => {
            exchange::a_clock_that_is_set_back_does_not_stop_the_talk
        }
        Fault::RequestForgotten => exchange::a_request_that_is_not_answered_is_made_elsewhere,
    }
}

#[test]
fn every_deliberate_fault_is_caught_by_a_test() {
    let told = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        // Those that a fault provokes are what is wanted.
        if Fault::current().is_none() {
            told(panic);
        }
    }));
    let missed: Vec<_> = Fault::ALL
        .iter()
        .filter(|fault| fault.with(|| catch_unwind(caught_by(**fault))).is_ok())
        .collect();
    assert!(missed.is_empty(), "not caught: {missed:?}");
}
