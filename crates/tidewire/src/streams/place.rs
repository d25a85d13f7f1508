//! How far a stream has come: its newest part, and whether one of the last has ended it.

use tidewire_core::log::Filter;
use tidewire_proto::{Cursor, WireError, parts::Ended};

use crate::app::App;

/// See the module.
pub(super) struct Place {
    pub(super) ended: Option<(Ended, Cursor)>,
    pub(super) newest: Option<Cursor>,
}

/// Looks at the newest page. What was under way when somebody cancelled may stand after the end, so the
/// last part alone says nothing.
pub(super) async fn place(app: &App, filter: &Filter) -> Result<Place, WireError> {
    let page = app.hub.history_back(filter, None, app.hub.limits().page_entries_max).await?;
    let ended = page.entries.iter().find_map(|framed| {
        let ended = Ended::of(&framed.entry().event)?;
        Some((ended, framed.id()?))
    });
    let newest = page.entries.last().and_then(|framed| framed.id());
    Ok(Place { ended, newest })
}
