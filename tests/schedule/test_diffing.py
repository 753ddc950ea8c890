"""Differences between schedules, zones, policies and versions of the zone data: each one, and nothing else."""

from __future__ import annotations

import base64
import tracemalloc
import zlib
from datetime import datetime, timedelta
from importlib import resources

import attrs
import pendulum
import pytest
from hypothesis import given
from hypothesis import strategies as st

from safebackup.errors import Code, ConfigurationError
from safebackup.findings import Severity
from safebackup.instants import Instant
from safebackup.schedule import Schedule, Zone, zone, zone_from_data
from safebackup.schedule.diffing import data_changed

START = pendulum.datetime(2026, 11, 23)
BERLIN = "Europe/Berlin"
# The file of release 2025b. Morocco left its changes of the clocks on 2026-09-20, which 2026f knows and 2025b does not.
CASABLANCA_2025B = (
    b"c-p;{eN5DK9LEm@M}m4aB1fyf8Kg-LaXv&P<Y1)+2;PAQA{sLu;uz=UfDFf7Dl$QmIV9yq-$Y`70yC1Q5+8UpL*>SRM8`~{t*C?P"
    b"&|#zR`}0}<R4f0f`|b9+_vf$o?Ot!t$EGAM)BNLWt9rYrxBHRE2e!^>4@;Nfq^WCY%+mMSGRO55Cp6c8S?HMZF~2c&;a8Ju>RyX$"
    b"XPU$9M|X|;J8wDW^aNSv7EYMv*&{95h2<u%#?Lj+&QEu&UGsxwZR-Nl`WL)3>ksyu-X1<@3EgtX6jst?3142|*kF?~!nIXK_#YDy"
    b"NtH4(`y&}S_>J7?QYJSV-<P^oyQHr6d8r$IQ|LpZWYkk}GAesSMAbOU=$BW?=*d92Nw;5avYr%%C-uTGAY_cVD`N~g8FO!?h;5u9"
    b"V<&B5v(GuXxqrTh>kXE150gcFX}yfM&y(BC2C+?M%Y>i~k&x*vwtE`o_K+g+?wE&2eEJoc)M6D$<0B%aXpu~53lphHS4C>^U75CG"
    b"wMaACM7rB;nf~fy!ZZ{qcWCRSx$c25-+V^y%$0IyLx;%F&ygAVMwzwvOOa(5k{{e(Aa?m##fQB;GJDn{xw~SA*ljPCIp&)pr+T%R"
    b";q<3x=3g#<^UQR9#AkZ?{%!o$bG1&+^rO4tvxYu9xrT=6HNH#z)qAN%|L?+d{2|P=dO;cx;((Bcs00Eb5eSipN+u9O5tUR_NQp&M"
    b"a)A&GFGvPLH2MZgHW0#rkPd`+ctJi80uq&kAVef889@jMLP`)~f{+u0pdchADp83_RuIAxm9!wlB`SGA2uxHG6P3syWCkHLQAtfy"
    b"VuO&Is00TgIZ=rYLUy7O9)$EnB|cHf4`KjBH3ASrAgVEd7z9y`0>m(gY8)U2LR2FGF%+U23y8rG)o4Hr2gG<l42U?+-w#6~sxg5W"
    b"6tS55V^~BZ_r<`7YGfdW24ZX=21it*12H^e1NX!LiTT_ULnNv(f*2%-QGysIh;f1#C{c|R#88RV+|#;lAKk5))s**$CCqT{xp$0x"
    b"+2_qYbKBR@J$E9Ja$Zp_<-8v5c_2BO?gu{Qo&|xw(Y+vzdltICN4YSVdw%@=6LdfH_)5w}&CSeF?s<6si<A$a<(|b`dg)%AKS8;~"
    b"_ch8T3EcCj(=ECm4d9-~1`p7^bQbrtRZLR0-Qb>O+3b5+^+n23$9_vI_dG7XpnTlGJ<BI!>3+f|hjK-G7v+kF+_SPYo$i%=+_TE;"
    b"N%tzrJ!^vYP_D_~o~Jy0>3%9?1LfME`-pX3+_SzVh;scn_dI=Ql<ue7+$cB1^Nt#dx#yYXQ*=LL<ep7#<#cZf;GWGxTFNb2?%7(`"
    b"NcYwo!<4_y-O6m>o^86zl-u&T=lR9_cj3I@6UrARM<`$P<DTukd35h^;hvopesu4&bI)$GjdFJt_q?<&gzlFzlPO<*?k8qA_xyIu"
    b"K)KhOdtPbR(EZAUH|1+ZX_T*Zb5DD+2i@&Q0x0(fe#JC$&jI(BC=Ud4&%s+)={}^rNBO(vEaoWp9L~K%dH8I|fBnzx|9Kw$U+C=D"
    b")u+HE{<D7v-+g5~"
)


def casablanca(release: str) -> Zone:
    data = (resources.files("tzdata") / "zoneinfo" / "Africa" / "Casablanca").read_bytes()
    if release == "2025b":
        data = zlib.decompress(base64.b85decode(CASABLANCA_2025B))
    return zone_from_data("Africa/Casablanca", data, source="a test", release=release)


def rebuilt(diff_of: Schedule, other: Schedule, start: datetime, end: datetime) -> tuple[set[Instant], set[Instant]]:
    """What only one side has, from the instants alone."""
    left, right = set(diff_of.between(start, end)), set(other.between(start, end))
    return left - right, right - left


def test_equal_schedules_do_not_differ() -> None:
    schedule = Schedule.cron("30 1 * * *", tz="Africa/Lagos")

    found = schedule.diff(Schedule.daily(at="01:30", tz="Africa/Lagos"), start=START, end=START.add(years=1))

    assert not found
    assert str(found).endswith("no difference")


def test_another_zone_moves_each_written_time_by_the_difference_of_the_clocks() -> None:
    schedule = Schedule.cron("30 1 * * *", tz="Africa/Lagos")

    found = schedule.diff(tz="UTC", start=START, end=START.add(days=10))

    assert (found.moved_count, found.only_left_count, found.only_right_count) == (10, 0, 0)
    assert {moved.by for moved in found.moved} == {timedelta(hours=1)}
    assert "2026-11-23 01:30:00 as written: 2026-11-23T00:30:00Z (+01:00) and 2026-11-23T01:30:00Z (+00:00)" in str(
        found
    )


def test_the_ends_of_the_span_cut_no_pair() -> None:
    schedule = Schedule.cron("30 0 * * *", tz="Africa/Lagos")

    found = schedule.diff(tz="UTC", start=START, end=START.add(days=3))

    assert (found.moved_count, found.only_left_count, found.only_right_count) == (4, 0, 0)
    assert found.moved[-1].left.instant < START.add(days=3) <= found.moved[-1].right.instant.add(days=1)


def test_a_zone_that_is_ahead_by_whole_hours_changes_nothing_for_hourly_runs() -> None:
    assert not Schedule.hourly(tz=BERLIN).diff(tz="UTC", start=START, end=START.add(years=1))
    assert Schedule.hourly(tz=BERLIN).diff(tz="Asia/Kathmandu", start=START, end=START.add(days=1))


def test_another_policy_differs_in_the_nights_of_the_clocks_and_nowhere_else() -> None:
    schedule = Schedule.cron("30 2 * * *", tz=BERLIN)

    found = schedule.diff(like="kubernetes", start=START, end=START.add(years=1))

    assert [f"{run.instant:%Y-%m-%dT%H:%M}" for run in found.only_left] == ["2027-03-28T01:00"]
    assert [f"{run.instant:%Y-%m-%dT%H:%M}" for run in found.only_right] == ["2027-10-31T01:30"]
    assert found.moved_count == 0


def test_the_second_of_two_is_the_same_written_time_an_hour_later() -> None:
    schedule = Schedule.cron("30 2 * * *", tz=BERLIN)

    (moved,) = schedule.diff(in_overlap="second", start=START, end=START.add(years=1)).moved

    assert (moved.by, f"{moved.left.instant:%Y-%m-%d}") == (timedelta(hours=1), "2027-10-31")


def test_a_policy_reaches_into_every_part() -> None:
    daily = Schedule.cron("30 2 * * *", tz=BERLIN)
    composed = (daily | Schedule.hourly(minute=7, tz=BERLIN)).without("10:00-11:00").spread(timedelta(hours=1), key="x")

    found = composed.diff(in_gap="skip", start=START, end=START.add(years=1))

    assert found.only_left_count == 1


@pytest.mark.parametrize(("expression", "is_same"), [("*/15 * * * *", False), ("30 2 * * *", True)])
def test_like_debian_decides_by_the_expression(expression: str, is_same: bool) -> None:
    once = Schedule.cron(expression, tz=BERLIN, like="once")

    assert bool(once.diff(like="debian", start=START, end=START.add(years=1))) is not is_same


def test_other_words_are_on_one_side_only() -> None:
    left, right = (Schedule.daily(at=at, tz=BERLIN) for at in ("02:30", "03:30"))

    found = left.diff(right, start=START, end=START.add(days=30))

    assert (found.only_left_count, found.only_right_count, found.moved_count) == (30, 30, 0)


def test_all_are_counted_and_the_first_are_kept_in_order() -> None:
    left, right = (Schedule.cron(text, tz=BERLIN) for text in ("*/2 * * * *", "1-59/2 * * * *"))

    found = left.diff(right, start=START, end=START.add(days=1), keep=7)

    assert (found.only_left_count, found.only_right_count) == (720, 720)
    assert len(found.only_left) == len(found.only_right) == 7
    assert [run.instant for run in found.only_left] == list(left.between(START, START.add(minutes=14)))
    assert "and 715 more" in str(found)


def test_memory_stays_small_however_many_differences_there_are() -> None:
    left, right = (Schedule.cron(text, tz=BERLIN) for text in ("*/6 * * * *", "3-59/6 * * * *"))
    left.diff(right, start=START, end=START.add(days=3), keep=5)

    tracemalloc.start()
    left.diff(right, start=START, end=START.add(days=3), keep=5)
    short = tracemalloc.get_traced_memory()[1]
    tracemalloc.reset_peak()
    left.diff(right, start=START, end=START.add(days=20), keep=5)
    long = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert long < short * 1.5 + 200_000


@given(
    st.sampled_from(["30 2 * * *", "0,30 1-3 * * *", "*/20 * * * *", "15 0 * * 0", "0 */5 * * *"]),
    st.sampled_from([BERLIN, "America/New_York", "Australia/Lord_Howe", "Asia/Beirut"]),
    st.sampled_from(["after", "shift", "skip"]),
    st.sampled_from(["first", "second", "both"]),
    st.sampled_from(["UTC", "Africa/Lagos", "Asia/Kathmandu", "America/St_Johns", "Pacific/Kiritimati"]),
    st.integers(0, 400),
)
def test_what_is_moved_or_on_one_side_is_what_the_instants_say(
    expression: str, key: str, in_gap: str, in_overlap: str, other: str, day: int
) -> None:
    left = Schedule.cron(expression, tz=key, in_gap=in_gap, in_overlap=in_overlap)  # type: ignore[arg-type]
    right = left.in_zone_data(zone(other))
    start = START.add(days=day)
    end = start.add(days=40)

    found = left.diff(right, start=start, end=end, keep=10_000)

    lefts = {run.instant for run in found.only_left} | {moved.left.instant for moved in found.moved}
    rights = {run.instant for run in found.only_right} | {moved.right.instant for moved in found.moved}
    within = ({at for at in side if start <= at < end} for side in (lefts, rights))
    assert tuple(within) == rebuilt(left, right, start, end)
    assert all(moved.left.wall == moved.right.wall and moved.by for moved in found.moved)


def test_one_thing_is_compared_at_a_time() -> None:
    schedule = Schedule.daily(at="01:30", tz=BERLIN)

    for wrong in ({}, {"tz": "UTC", "like": "once"}, {"other": schedule, "tz": "UTC"}):
        with pytest.raises(ConfigurationError, match="say one thing"):
            schedule.diff(start=START, end=START.add(days=1), **wrong)
    with pytest.raises(ConfigurationError, match="is not a Schedule"):
        schedule.diff("01:30", start=START, end=START)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="keep=0"):
        schedule.diff(schedule, start=START, end=START, keep=0)
    with pytest.raises(ConfigurationError, match="without a time zone"):
        schedule.diff(schedule, start=datetime(2026, 1, 1), end=START)


def test_morocco_differs_between_two_releases_from_the_day_it_gave_up_changing() -> None:
    schedule = Schedule.cron("0 2 * * *", tz=casablanca("2025b"))
    start = pendulum.datetime(2026, 9, 1)

    found = schedule.diff(tz=casablanca("2026f"), start=start, end=start.add(days=60))

    assert (found.moved_count, found.only_left_count, found.only_right_count) == (41, 0, 0)
    assert found.moved[0].left.wall == datetime(2026, 9, 20, 2, 0)
    assert found.moved[0].by == timedelta(hours=1)
    assert "(zone data 2025b, " in found.left
    assert "(zone data 2026f, " in found.right


def test_data_that_part_and_meet_again_differ_from_the_first_parting_on() -> None:
    schedule = Schedule.cron("0 2 * * *", tz=casablanca("2025b"))
    other = casablanca("2026f")
    start, end = pendulum.datetime(2026, 9, 1), pendulum.datetime(2029, 1, 1)

    found = schedule.diff(tz=other, start=start, end=end, keep=2000)

    lefts = {run.instant for run in found.only_left} | {moved.left.instant for moved in found.moved}
    rights = {run.instant for run in found.only_right} | {moved.right.instant for moved in found.moved}
    assert (lefts, rights) == rebuilt(schedule, schedule.in_zone_data(other), start, end)
    assert found.moved_count > 600


def test_a_record_is_silent_while_the_zone_data_give_the_same_runs() -> None:
    record = Schedule.cron("0 2 * * *", tz="Africa/Lagos").to_dict()
    here = zone("Africa/Lagos")
    kept = Schedule.cron("0 2 * * *", tz=attrs.evolve(here, data=_with_other_bytes(here.data))).to_dict()

    assert data_changed(record, START, START.add(years=5)) is None
    assert data_changed(kept, START, START.add(years=5)) is None


def _with_other_bytes(data: bytes) -> bytes:
    """The same zone, in a file whose version is another."""
    assert data[:5] in (b"TZif2", b"TZif3")
    other = b"TZif3" if data[:5] == b"TZif2" else b"TZif2"
    return data.replace(data[:5], other)


def test_a_record_of_other_zone_data_says_what_changed_and_when(here: Zone, there: Zone) -> None:
    record = Schedule.cron("0 2 * * *", tz=there).to_dict()

    finding = data_changed(record, pendulum.datetime(2026, 9, 1), pendulum.datetime(2027, 1, 1))

    assert finding is not None
    assert (finding.code, finding.severity) == (Code.TZDATA_CHANGED, Severity.WARNING)
    assert "2026-09-20 02:00:00 as written" in finding.what
    assert f"zone data {there.release} from a test" in finding.what
    assert f"zone data {here.release} from {here.source}" in finding.what


def test_a_promise_that_only_the_old_data_kept_is_a_finding_and_no_crash(here: Zone, there: Zone) -> None:
    schedule = Schedule.every(days=1, start=pendulum.datetime(2026, 10, 1, 1, 30), tz=there)
    window = "01:00-02:00" if there.release == "2025b" else "02:00-03:00"
    record = schedule.to_dict() | {"forbid": [window]}

    finding = data_changed(record, pendulum.datetime(2026, 9, 1), pendulum.datetime(2027, 1, 1))

    assert finding is not None
    assert (finding.code, finding.severity) == (Code.TZDATA_CHANGED, Severity.ERROR)
    assert "breaks its promise" in finding.what


@pytest.fixture
def here() -> Zone:
    """What this machine has."""
    return zone("Africa/Casablanca")


@pytest.fixture
def there(here: Zone) -> Zone:
    """What it has not."""
    knows = here.tzinfo.utcoffset(datetime(2026, 11, 1)) == timedelta(0)
    return casablanca("2025b" if knows else "2026f")
