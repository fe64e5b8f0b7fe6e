//! Register writes of operations: properties, renames, order keys. Each only goes to its place.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::overlay::Overlay;
use super::register::{self, Place};
use super::structure::write_name;
use super::view::{ReadError, View as _};
use crate::codec::record::{Record, Register, Write, Written};
use crate::codec::state_key as key;
use crate::model::{NodeId, Operation, PropertyName, Stamp};

/// Heaviest register that stays in its node's record, in bytes.
const INLINE_BYTES_MAX: usize = 256;
/// Most registers in a node's record.
const INLINE_MAX: usize = 16;

/// Puts a write to a register in its place, and gives the property if it was one. Leaves
/// structural operations alone.
pub(super) fn register(
    overlay: &mut Overlay<'_>,
    operation: &Operation,
    stamp: Stamp,
) -> Result<Option<(NodeId, PropertyName)>, ReadError> {
    let (node, name, what) = match operation {
        Operation::Set {
            node,
            property,
            value,
        } => (*node, property, Written::Set(value.clone())),
        Operation::Unset { node, property } => (*node, property, Written::Unset),
        Operation::Inc {
            node,
            property,
            delta,
        } => (*node, property, Written::Inc(*delta)),
        Operation::Rename { node, name } => {
            let mut record = overlay.take_node(*node)?;
            write_name(Arc::make_mut(&mut record), stamp, name);
            overlay.put_node(*node, record);
            return Ok(None);
        }
        Operation::Dismiss { conflict } => {
            overlay.put(
                key::dismissal(overlay.repo(), *conflict, stamp),
                Record::Mark,
            );
            return Ok(None);
        }
        Operation::Order { node, key } => {
            let mut record = overlay.take_node(*node)?;
            let orders = &mut Arc::make_mut(&mut record).orders;
            let position = orders.partition_point(|(other, _)| *other < stamp);
            orders.insert(position, (stamp, key.clone()));
            overlay.put_node(*node, record);
            return Ok(None);
        }
        Operation::Add { .. }
        | Operation::AddUnique { .. }
        | Operation::Remove { .. }
        | Operation::Move { .. } => return Ok(None),
    };
    property(overlay, node, name, Write { stamp, what })?;
    Ok(Some((node, name.clone())))
}

/// Takes what [`register`] wrote out again, but for names and properties (M13).
pub(super) fn erase(
    overlay: &mut Overlay<'_>,
    operation: &Operation,
    stamp: Stamp,
) -> Result<(), ReadError> {
    match operation {
        Operation::Order { node, .. } => {
            let mut record = overlay.take_node(*node)?;
            let orders = &mut Arc::make_mut(&mut record).orders;
            orders.retain(|(other, _)| *other != stamp);
            overlay.put_node(*node, record);
        }
        Operation::Dismiss { conflict } => {
            overlay.remove(key::dismissal(overlay.repo(), *conflict, stamp));
        }
        _ => {}
    }
    Ok(())
}

/// Takes writes of a property out again (M13).
pub(super) fn erase_property(
    overlay: &mut Overlay<'_>,
    node: NodeId,
    name: &PropertyName,
    stamps: &BTreeSet<Stamp>,
) -> Result<(), ReadError> {
    let place = Place { node, name };
    let mut record = overlay.take_node(node)?;
    let changed = Arc::make_mut(&mut record);
    let outside_key = key::property(overlay.repo(), node, name);
    if let Some(register) = changed.properties.get_mut(name) {
        register::erase(overlay, place, register, stamps)?;
        if register.writes.is_empty() {
            changed.properties.remove(name);
        }
    } else if let Some(Record::Register(mut register)) = overlay.get(&outside_key)? {
        register::erase(overlay, place, Arc::make_mut(&mut register), stamps)?;
        if register.writes.is_empty() {
            changed.outside -= 1;
            overlay.remove(outside_key);
        } else {
            overlay.put(outside_key, Record::Register(register));
        }
    }
    overlay.put_node(node, record);
    Ok(())
}

/// Puts a write into a property's register, wherever that stands.
fn property(
    overlay: &mut Overlay<'_>,
    node: NodeId,
    name: &PropertyName,
    write: Write,
) -> Result<(), ReadError> {
    let place = Place { node, name };
    let mut record = overlay.take_node(node)?;
    let outside_key = key::property(overlay.repo(), node, name);
    let outside = match record.outside {
        0 => None,
        _ => match overlay.get(&outside_key)? {
            Some(Record::Register(register)) => Some(register),
            _ => None,
        },
    };
    if let Some(mut register) = outside {
        register::insert(overlay, place, Arc::make_mut(&mut register), write)?;
        overlay.put(outside_key, Record::Register(register));
        overlay.put_node(node, record);
        return Ok(());
    }
    let changed = Arc::make_mut(&mut record);
    if let Some(register) = changed.properties.get_mut(name) {
        register::insert(overlay, place, register, write)?;
        if register.weight() > INLINE_BYTES_MAX {
            let register = std::mem::take(register);
            changed.properties.remove(name);
            changed.outside += 1;
            overlay.put(outside_key, Record::Register(Arc::new(register)));
        }
        overlay.put_node(node, record);
        return Ok(());
    }
    let mut register = Register::default();
    register::insert(overlay, place, &mut register, write)?;
    if register.weight() <= INLINE_BYTES_MAX && changed.properties.len() < INLINE_MAX {
        changed.properties.insert(name.clone(), register);
    } else {
        changed.outside += 1;
        overlay.put(outside_key, Record::Register(Arc::new(register)));
    }
    overlay.put_node(node, record);
    Ok(())
}
