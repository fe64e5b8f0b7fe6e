//! The kinds of faults and of load that a run can have.

use std::fmt;
use std::str::FromStr;

macro_rules! kinds {
    ($($(#[$doc:meta])+ $kind:ident $name:literal,)+) => {
        /// A kind of fault or of load. A run has some of them, drawn from its seed.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Kind {
            $($(#[$doc])+ $kind,)+
        }

        impl Kind {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$kind,)+];

            /// What it is called on the command line and in reports.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$kind => $name,)+
                }
            }
        }
    };
}

kinds! {
    // Network.
    /// Datagrams are lost, up to 30 %, and sent again.
    Loss "loss",
    /// Whole messages vanish, which QUIC does not do.
    Vanish "vanish",
    /// Messages come twice, which QUIC does not do.
    Duplicate "duplicate",
    /// Messages overtake one another, which QUIC does not do.
    Reorder "reorder",
    /// One way between two machines is cut, and not the way back.
    Cut "cut",
    /// The machines fall into groups that can not reach one another.
    Partition "partition",
    /// Some links take few bytes a second.
    SlowLink "slow-link",
    /// Connections die, with what is under way.
    DeadConnection "dead-connection",

    // Clocks.
    /// Clocks are up to ten minutes off.
    Skew "skew",
    /// Clocks go too fast or too slow.
    Drift "drift",
    /// A clock is set forward.
    JumpForward "jump-forward",
    /// A clock is set back.
    JumpBack "jump-back",
    /// A clock stands still.
    Frozen "frozen",
    /// One clock is a year ahead.
    YearAhead "year-ahead",
    /// A clock that was far ahead is set right, and somebody has what was saved then saved again.
    RepairClock "repair-clock",

    // Processes and disks.
    /// A machine goes down between two commits.
    Crash "crash",
    /// A machine goes down amid a commit or a checkpoint.
    Torn "torn",
    /// A machine is stopped in good order and started again.
    Restart "restart",
    /// A machine goes on from an old copy of its directory.
    RestoredBackup "restored-backup",
    /// A copy of a directory is started beside the original.
    Clone "clone",
    /// A machine goes down, and its disk has not kept all that it said it had.
    LostTail "lost-tail",
    /// A disk is full for a while.
    DiskFull "disk-full",
    /// Barriers take up to seconds.
    SlowSync "slow-sync",

    // Membership.
    /// A machine joins.
    Join "join",
    /// A machine is taken out for good.
    Leave "leave",
    /// A machine is away for most of the time, and comes back.
    Absence "absence",
    /// A machine that was taken out goes on writing.
    Outcast "outcast",

    // Load.
    /// Many saves at once.
    Burst "burst",
    /// Everybody writes one property.
    HotProperty "hot-property",
    /// Everybody adds below one node.
    HotParent "hot-parent",
    /// Everybody moves the same few nodes.
    ContendedMoves "contended-moves",
    /// A node with 100,000 children.
    WideNode "wide-node",
    /// A path 500 deep.
    DeepPath "deep-path",
    /// A change set at the limit of size.
    LargeSet "large-set",

    // Hostile members.
    /// Frames are cut short.
    CutFrame "cut-frame",
    /// Frames are altered.
    AlteredFrame "altered-frame",
    /// Ranges begin after a gap.
    Gap "gap",
    /// Change sets under somebody else's name.
    ForgedAuthor "forged-author",
    /// Two histories of one origin, with the same ids or others.
    Equivocation "equivocation",
    /// Messages without end.
    Flood "flood",
    /// Change sets of times far ahead.
    FarAhead "far-ahead",
    /// Change sets whose ids fall.
    FallingIds "falling-ids",
}

impl Kind {
    /// In how many of a thousand runs of the default profile it is switched on.
    pub fn usual_permille(self) -> u32 {
        match self {
            // It makes a run long.
            Self::WideNode => 95,
            Self::DeepPath | Self::LargeSet => 120,
            // These find nobody to strike in many of the runs that have them.
            Self::YearAhead | Self::ForgedAuthor => 220,
            Self::Outcast => 400,
            Self::CutFrame
            | Self::AlteredFrame
            | Self::Gap
            | Self::Equivocation
            | Self::Flood
            | Self::FarAhead
            | Self::FallingIds => 150,
            _ => 300,
        }
    }

    /// Whether a hostile member does it.
    pub fn is_hostile(self) -> bool {
        self >= Self::CutFrame
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Kind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.iter().copied().find(|kind| kind.name() == text);
        found.ok_or_else(|| {
            let names: Vec<_> = Self::ALL.iter().map(|kind| kind.name()).collect();
            format!(
                "no kind of fault is called {text}; there are {}",
                names.join(", ")
            )
        })
    }
}
