"""Messages to labels without a ROS graph, with a model whose labels are known."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import scene
import torch
from fake_model import CONTRACT, SIZE, FakeModel
from sensor_messages import FACTORIES, image

from memorysam_core.contract import InputContract, default_contract
from memorysam_core.frames import lidar
from memorysam_core.frames.draw import draw
from memorysam_core.frames.readings import PointsReading
from memorysam_core.labels import MCUBES
from memorysam_ros import set_frames
from memorysam_ros.calibration import CalibrationError, StaticTransforms
from memorysam_ros.conversions import Outputs
from memorysam_ros.feeds import fed_by
from memorysam_ros.parameters import from_values
from memorysam_ros.pipeline import Pipeline, UnusableSet
from memorysam_ros.readings import Readings
from memorysam_ros.result import TOPICS

S, MS = 1_000_000_000, 1_000_000
T = 1000 * S
STAMPS = {"depth": T - 5 * MS, "event": T + 9 * MS, "lidar": T + 30 * MS, "image": T}
SETTINGS = {
    "event.source": "image",
    "lidar.camera_from_lidar": [*scene.POSE[:3, 3], 0, 0, 0, 1],
}


@pytest.fixture(params=FACTORIES.values(), ids=FACTORIES.keys())
def make(request):
    return request.param


def started(make=FACTORIES["rosbags"], info=True, model=None, transforms=None, **settings):
    values = SETTINGS | {name.replace("__", "."): value for name, value in settings.items()}
    made = Pipeline(model or FakeModel(), from_values(values), transforms)
    if info:
        made.add_camera_info("image", scene.camera_info(make))
    return made


def one_set(pipeline, make=FACTORIES["rosbags"], stamps=STAMPS, **messages):
    sets = []
    for sensor, stamp in stamps.items():
        message = messages.get(sensor) or scene.message_at(sensor, stamp, make)
        sets += pipeline.add(sensor, message, T + 50 * MS)
    sets += pipeline.tick(T + 10 * S)
    (matched,) = sets
    return matched


def expected(size=(scene.CAMERA.height, scene.CAMERA.width), **stamps):
    return FakeModel().segment(scene.frames_at(CONTRACT, SIZE, stamps or STAMPS), size).labels


def without(*sensors):
    return {name: stamp for name, stamp in STAMPS.items() if name not in sensors}


def test_labels_are_those_of_the_model_on_the_same_readings(make):
    pipeline = started(make)
    result = pipeline.process(one_set(pipeline, make))
    assert result.troubles == {}
    np.testing.assert_array_equal(result.segmentation.labels, expected())
    message = TOPICS["output/labels"][1](result, Outputs(make), 0.5)
    assert (message.header.stamp.sec, message.header.frame_id) == (1000, "camera")
    assert (message.encoding, message.height, message.width) == ("mono8", 96, 160)


def test_a_broken_message_costs_its_sensor_only():
    make = FACTORIES["rosbags"]
    pipeline = started()
    broken = image(make, np.zeros((4, 4, 3), np.uint8), "bgr8")
    broken.header = Outputs(make).header(STAMPS["depth"], "camera")
    result = pipeline.process(one_set(pipeline, depth=broken))
    assert "bgr8" in result.troubles["depth"]
    np.testing.assert_array_equal(result.segmentation.labels, expected(**without("depth")))


def test_a_broken_message_of_a_required_sensor_makes_the_set_unusable():
    make = FACTORIES["rosbags"]
    pipeline = started(depth__policy="required")
    broken = image(make, np.zeros((4, 4, 3), np.uint8), "bgr8")
    broken.header = Outputs(make).header(STAMPS["depth"], "camera")
    with pytest.raises(UnusableSet, match="depth: .*bgr8") as raised:
        pipeline.process(one_set(pipeline, depth=broken))
    assert raised.value.worked == {"image", "event", "lidar"}  # whose earlier troubles are over


def test_without_camera_info_only_what_needs_it_is_left_out():
    pipeline = started(info=False)
    result = pipeline.process(one_set(pipeline))
    assert set(result.troubles) == {"lidar"}
    assert "nothing arrived on ~/input/camera_info" in result.troubles["lidar"]
    expected_labels = expected(**without("lidar"))
    np.testing.assert_array_equal(result.segmentation.labels, expected_labels)


def test_an_uncalibrated_camera_is_told():
    pipeline = started(info=False)
    info = scene.camera_info(FACTORIES["rosbags"])
    info.k[:] = 0
    pipeline.add_camera_info("image", info)
    result = pipeline.process(one_set(pipeline))
    assert "K is all zero" in result.troubles["lidar"]
    assert "image" not in result.troubles


def test_rectified_images_are_seen_through_p():
    info = scene.camera_info(FACTORIES["rosbags"])
    info.k[:] = [70.0, 0, 70, 0, 70, 40, 0, 0, 1]
    info.d = np.array([-0.2, 0.0, 0.0, 0.0, 0.0])
    cameras = {}
    for rectified in (True, False):
        pipeline = started(info=False, image__rectified=rectified)
        pipeline.add_camera_info("image", info)
        cameras[rectified] = pipeline.process(one_set(pipeline)).camera
    assert cameras[True].resized(160, 96) == scene.CAMERA
    assert cameras[False].distorted and cameras[False].resized(160, 96).fx == 70


def test_confidence_and_colours_are_of_the_size_and_moment_of_the_labels():
    pipeline = started()
    result = pipeline.process(one_set(pipeline))
    outputs = Outputs(FACTORIES["rosbags"])
    made = {
        name: TOPICS[f"output/{name}"][1](result, outputs, 0.5)
        for name in ("labels", "confidence", "color")
    }
    assert {m.encoding for m in made.values()} == {"mono8", "rgb8"}
    assert len({(m.height, m.width, m.header.stamp.nanosec) for m in made.values()}) == 1
    shape = made["labels"].height, made["labels"].width
    found = result.segmentation
    np.testing.assert_array_equal(made["labels"].data.reshape(shape), found.labels)
    np.testing.assert_array_equal(made["confidence"].data.reshape(shape), found.confidence)
    colours = result.label_space.colourise(np.asarray(found.labels))
    np.testing.assert_array_equal(made["color"].data.reshape(*shape, 3), colours)


def test_camera_info_of_another_shape_is_told_and_of_the_same_shape_scaled():
    twice = scene.CAMERA.resized(320, 192)
    pipeline = started(info=False)
    pipeline.add_camera_info("image", scene.camera_info(FACTORIES["rosbags"], twice))
    np.testing.assert_array_equal(
        pipeline.process(one_set(pipeline)).segmentation.labels, expected()
    )
    pipeline = started(info=False)
    other = scene.CAMERA.resized(160, 160)
    pipeline.add_camera_info("image", scene.camera_info(FACTORIES["rosbags"], other))
    result = pipeline.process(one_set(pipeline))
    assert "are 160 x 96, but their calibration is for 160 x 160" in result.troubles["lidar"]


def test_extrinsics_from_tf_and_a_frame_that_tf_does_not_know():
    pipeline = started(transforms=StaticTransforms(), lidar__camera_from_lidar=[0.0] * 7)
    result = pipeline.process(one_set(pipeline))
    assert "no transform from frame 'lidar' to 'camera'" in result.troubles["lidar"]
    pipeline = started(transforms=None, lidar__camera_from_lidar=[0.0] * 7)
    result = pipeline.process(one_set(pipeline))
    assert "there is no TF" in result.troubles["lidar"]


def test_lidar_leads_while_the_camera_is_silent(make):
    pipeline = started(make, matching__silent_after=0.2)
    pipeline.add("image", scene.message_at("image", T, make), T)
    pipeline.tick(T + S)
    sets = []
    for k in range(15):
        at = T + S + k * 100 * MS
        sets += pipeline.add("lidar", scene.message_at("lidar", at, make), at)
    sets += pipeline.tick(T + 5 * S)
    result = pipeline.process(sets[-1])
    assert result.matched.leader == "lidar"
    assert result.segmentation.labels.shape == (96, 160)
    header = TOPICS["output/labels"][1](result, Outputs(make), 0.5).header
    assert header.frame_id == "camera"
    assert (header.stamp.sec, header.stamp.nanosec) == (1002, 400 * MS)


class LateTf:
    """Knows nothing at first."""

    def __init__(self) -> None:
        self.known = False

    def lookup(self, target: str, source: str, stamp_ns: int) -> np.ndarray:
        if not self.known:
            raise CalibrationError(f"no transform from frame {source!r} to {target!r}")
        return scene.POSE


def blind_drive(pipeline, sensor: str, begin: int, sets: int = 30) -> list:
    """Only one sensor, at 10 Hz; the sets that this closes."""
    out = []
    for k in range(sets):
        at = begin + k * 100 * MS
        out += pipeline.add(sensor, scene.message_at(sensor, at, FACTORIES["rosbags"]), at)
    return out + pipeline.tick(begin + sets * 100 * MS + S)


@pytest.mark.parametrize("seen_again", [True, False])
def test_a_sensor_whose_tf_came_late_stands_in_for_the_camera(seen_again):
    tf = LateTf()
    pipeline = started(transforms=tf, lidar__camera_from_lidar=[0.0] * 7)
    assert "no transform" in pipeline.process(one_set(pipeline)).troubles["lidar"]
    tf.known = True
    if seen_again:
        later = {name: stamp + 20 * S for name, stamp in STAMPS.items()}
        sets = [
            made
            for name, stamp in later.items()
            for made in pipeline.add(
                name, scene.message_at(name, stamp, FACTORIES["rosbags"]), T + 20 * S
            )
        ] + pipeline.tick(T + 25 * S)
        assert pipeline.process(sets[-1]).troubles == {}
    results = [pipeline.process(made) for made in blind_drive(pipeline, "lidar", T + 40 * S)]
    assert len(results) > 15
    assert {r.matched.leader for r in results} == {"lidar"}


def test_while_nobody_can_stand_in_for_the_camera_the_reason_is_told():
    tf = LateTf()
    pipeline = started(transforms=tf, lidar__camera_from_lidar=[0.0] * 7)
    blind = blind_drive(pipeline, "lidar", T)
    assert len(blind) > 15
    for made in blind[:2]:
        with pytest.raises(UnusableSet, match="lidar: no transform from frame 'lidar'") as raised:
            pipeline.process(made)
    assert set(raised.value.troubles) == {"lidar"}
    tf.known = True
    assert pipeline.process(blind[-1]).troubles == {}


def test_without_anything_known_of_the_camera_nobody_stands_in_for_it():
    pipeline = started(info=False)
    (first, *_) = blind_drive(pipeline, "depth", T)
    with pytest.raises(UnusableSet, match="cannot stand in for it: nothing arrived on ~") as raised:
        pipeline.process(first)
    assert raised.value.worked == frozenset()


def test_a_pose_that_leaves_no_point_in_the_image_is_doubted():
    pipeline = started()
    assert pipeline.process(one_set(pipeline)).doubts == {}
    pipeline = started(lidar__camera_from_lidar=[0, 0, 0, 0, 1, 0, 0])  # looks backwards
    doubts = pipeline.process(one_set(pipeline)).doubts
    assert doubts["lidar"].startswith("only 0 of 500 points fall in the image")


def test_outputs_at_the_networks_size_come_with_a_camera_info_to_match(make):
    pipeline = started(make, output_size="network")
    result = pipeline.process(one_set(pipeline, make))
    np.testing.assert_array_equal(result.segmentation.labels, expected(size=SIZE))
    info = TOPICS["output/camera_info"][1](result, Outputs(make), 0.5)
    assert (info.height, info.width) == SIZE
    np.testing.assert_allclose(info.k, [32, 0, 32, 0, 80 / 3, 16, 0, 0, 1])


def test_points_carry_the_label_of_the_pixel_they_fall_on(make):
    pipeline = started(make)
    result = pipeline.process(one_set(pipeline, make))
    xyz, labels, confidence = result.points()
    scan = PointsReading(scene.readings_at("lidar", STAMPS["lidar"]), scene.POSE)
    assert len(xyz) == int(lidar.look(scan, scene.CAMERA).visible.sum()) > 100
    uv, inside = scene.CAMERA.project(xyz)
    assert inside.all()
    column, row = uv.astype(int).T
    np.testing.assert_array_equal(labels, expected()[row, column])
    np.testing.assert_array_equal(confidence, labels * 10)
    message = TOPICS["output/points"][1](result, Outputs(make), 0.5)
    assert (message.header.frame_id, message.width) == ("camera", len(xyz))


def test_organised_points_have_the_size_of_the_labels_and_lie_on_the_pixels_rays(make):
    pipeline = started(make)
    result = pipeline.process(one_set(pipeline, make))
    points = result.organised_points()
    assert points.shape == (96, 160, 3)
    metres = scene.readings_at("depth", STAMPS["depth"])
    np.testing.assert_allclose(points[..., 2], metres.repeat(2, 0).repeat(2, 1), rtol=1e-6)
    uv, _ = scene.CAMERA.project(points.reshape(-1, 3))
    np.testing.assert_allclose(uv[161], [1.5, 1.5], atol=1e-3)


def test_depth_of_another_frame_needs_its_own_camera(make):
    pipeline = started(make)
    message = scene.message_at("depth", STAMPS["depth"], make)
    message.header.frame_id = "depth_camera"
    result = pipeline.process(one_set(pipeline, make, depth=message))
    assert "nothing arrived on ~/input/depth_camera_info" in result.troubles["depth"]
    pipeline = started(make, depth__camera_from_depth=[0, 0, 0, 0, 0, 0, 1])
    pipeline.add_camera_info("depth", scene.camera_info(make, scene.CAMERA.resized(80, 48)))
    result = pipeline.process(one_set(pipeline, make, depth=message))
    assert result.troubles == {}


def test_debug_frames_are_what_the_model_saw(make):
    pipeline = started(make)
    result = pipeline.process(one_set(pipeline, make))
    frames = scene.frames_at(CONTRACT, SIZE, STAMPS)
    for topic, sensor in (("depth", "depth"), ("events", "event"), ("lidar", "lidar")):
        message = TOPICS[f"debug/{topic}_frame"][1](result, Outputs(make), 0.5)
        seen = np.frombuffer(message.data, np.uint8).reshape(*SIZE, 3)
        np.testing.assert_array_equal(seen, frames[sensor].numpy())


def test_overlay_is_the_image_tinted():
    pipeline = started()
    result = pipeline.process(one_set(pipeline))
    mixed = result.overlay(0.5).astype(float)
    mean = (scene.readings_at("image", T).astype(float) + result.colours()) / 2
    assert np.abs(mixed - mean).max() <= 1


def test_a_reading_that_serves_twice_is_drawn_once():
    pipeline = started(lidar__policy="hold")
    first = pipeline.process(one_set(pipeline))
    later = {"image": T + 100 * MS, "depth": T + 100 * MS, "event": T + 100 * MS}
    sets = []
    for sensor, stamp in later.items():
        message = scene.message_at(sensor, stamp, FACTORIES["rosbags"])
        sets += pipeline.add(sensor, message, T + 20 * S)
    sets += pipeline.tick(T + 30 * S)
    second = pipeline.process(sets[-1])
    assert second.matched.held == {"lidar"}
    assert second.frames["lidar"] is first.frames["lidar"]
    assert second.frames["image"] is not first.frames["image"]


def test_what_is_prepared_is_drawn_once_and_is_the_same(monkeypatch):
    drawn = []

    def counted(what, *args):
        drawn.append(what.name)
        return draw(what, *args)

    monkeypatch.setattr(set_frames, "draw", counted)
    pipeline = started()
    pipeline.process(one_set(pipeline))  # from now on it is known what the camera sees
    drawn.clear()
    messages = {
        sensor: scene.message_at(sensor, stamp + S, FACTORIES["rosbags"])
        for sensor, stamp in STAMPS.items()
    }
    sets = []
    for sensor, message in messages.items():
        pipeline.prepare(sensor, message)
        sets += pipeline.add(sensor, message, T + S + 50 * MS)
    assert sorted(drawn) == ["depth", "event", "image", "lidar"]
    sets += pipeline.tick(T + 10 * S)
    result = pipeline.process(sets[0])
    assert len(drawn) == 4
    later = {sensor: stamp + S for sensor, stamp in STAMPS.items()}
    np.testing.assert_array_equal(result.segmentation.labels, expected(**later))


def test_a_message_that_cannot_be_prepared_is_told_with_its_set_and_then_left_alone(monkeypatch):
    reads = []

    def failing(self, message):
        reads.append(message)
        raise ValueError("broken")

    monkeypatch.setattr(Readings, "depth", failing)
    pipeline = started()
    message = scene.message_at("depth", STAMPS["depth"], FACTORIES["rosbags"])
    pipeline.prepare("depth", message)  # nothing is known of the camera yet
    assert reads == []
    assert pipeline.process(one_set(pipeline, depth=message)).troubles == {"depth": "broken"}
    pipeline.prepare("depth", message)
    assert len(reads) == 1


def test_depth_is_not_taken_for_registered_to_a_camera_that_does_not_name_its_frame(make):
    """Nothing says how they stand to each other: silently misplaced, it would be believed."""
    pipeline = started(make, info=False)
    nameless = scene.message_at("image", T, make)
    nameless.header.frame_id = ""
    result = pipeline.process(one_set(pipeline, make, image=nameless))
    assert "images have an empty frame_id; set it in the camera" in result.troubles["depth"]
    assert "depth" not in result.frames
    depth = scene.message_at("depth", STAMPS["depth"], make)
    depth.header.frame_id = ""  # then both drivers leave it out, and it may well be registered
    pipeline = started(make, info=False)
    result = pipeline.process(one_set(pipeline, make, image=nameless, depth=depth))
    assert "depth" in result.frames


def test_a_stamp_of_zero_is_the_time_of_arrival_and_counted():
    pipeline = started()
    matched = one_set(pipeline, depth=scene.message_at("depth", 0, FACTORIES["rosbags"]))
    assert matched.readings["depth"][0].stamp_ns == T + 50 * MS
    assert pipeline.matcher.counts["depth: zero stamp"] == 1


def packet(stamp_ns: int, times_us: list[int], seq: int):
    """Monochrome events, encoding ``mono``, at pixel 10, 5 plus their number."""
    words = [(t * 1000) | ((10 + k) << 32) | (5 << 48) | (1 << 63) for k, t in enumerate(times_us)]
    return SimpleNamespace(
        header=Outputs(FACTORIES["rosbags"]).header(stamp_ns, "event"),
        encoding="mono",
        events=np.array(words, np.uint64).view(np.uint8),
        width=SIZE[1],
        height=SIZE[0],
        seq=seq,
        time_base=0,
        is_bigendian=False,
    )


def test_event_packets_are_joined_over_the_window_that_ends_at_the_image():
    pipeline = started(event__source="packets")
    sets = []
    for seq, (begin_ms, times) in enumerate(
        [(-70, [0, 5_000]), (-30, [0, 20_000]), (0, [0, 9000])]
    ):
        sets += pipeline.add("event", packet(T + begin_ms * MS, times, seq), T + 30 * MS)
    sets += pipeline.add("image", scene.message_at("image", T, FACTORIES["rosbags"]), T + 40 * MS)
    sets += pipeline.tick(T + 10 * S)
    frame = pipeline.process(sets[0]).frames["event"].numpy()
    # -70 and -65 ms are before the window of 50 ms; of the last packet only 0 ms is not after it.
    assert frame[5].any(1).nonzero()[0].tolist() == [10, 11]
    assert frame[5, 10].tolist() == [255, 0, 0]


@pytest.mark.parametrize(
    ("offset_ms", "zero"), [(0, False), (200, False), (-30, False), (0, True), (200, True)]
)
def test_events_are_drawn_at_the_time_that_they_are_matched_at(offset_ms, zero):
    """With another clock, and from a driver that sets no stamps."""
    pipeline = started(event__source="packets", event__offset=offset_ms / 1000)
    sets = []
    for seq, at_ms in enumerate((-40, -20, 0)):
        sent = T + (at_ms - offset_ms) * MS
        made = packet(0 if zero else sent, [0, 10_000], seq)
        sets += pipeline.add("event", made, sent)
    sets += pipeline.add("image", scene.message_at("image", T, FACTORIES["rosbags"]), T + 400 * MS)
    sets += pipeline.tick(T + 10 * S)
    result = pipeline.process(sets[0])
    assert "event" in result.matched.readings
    # Of each packet its events at 10, 5 and 11, 5; both in the window of 50 ms that ends at T.
    assert result.frames["event"].numpy()[5].any(1).nonzero()[0].tolist() == [10, 11]


def test_lost_event_packets_are_counted_but_not_those_left_out_on_purpose():
    pipeline = started(event__source="packets")
    for seq in (4, 5, 8):
        pipeline.add("event", packet(T + seq * MS, [0], seq), T + 10 * MS)
    assert pipeline.matcher.counts["event: packets lost"] == 2
    pipeline.resume()
    pipeline.add("event", packet(T + 400 * MS, [0], 400), T + 410 * MS)
    assert pipeline.matcher.counts["event: packets lost"] == 2


def test_modalities_without_a_sensor_are_named():
    class McubesModel(FakeModel):
        contract = default_contract(MCUBES)

    pipeline = Pipeline(McubesModel(), from_values({}))
    assert pipeline.unfed == ["aolp", "dolp", "nir"]
    assert pipeline.sensors == ("image",)


def test_an_unused_sensor_is_not_fed():
    contract: InputContract = CONTRACT
    parameters = from_values({"depth.policy": "unused"})
    assert fed_by(contract, parameters) == {
        "image": "image",
        "event": "event",
        "lidar": "lidar",
    }


class RgbModel(FakeModel):
    contract = CONTRACT.replace(modalities=(CONTRACT.modality("image"),))


def test_clouds_are_labelled_with_a_checkpoint_that_sees_images_only(make):
    pipeline = started(make, model=RgbModel())
    assert (pipeline.sensors, pipeline.extras) == (("image",), ("depth", "lidar"))
    assert pipeline.listened == ("image", "depth", "lidar")
    result = pipeline.process(one_set(pipeline, make, without("event")))
    assert set(result.frames) == {"image"}
    np.testing.assert_array_equal(result.segmentation.labels, expected(image=T))
    xyz, labels, _ = result.points()
    assert len(xyz) == len(labels) > 100
    assert result.organised_points().shape == (96, 160, 3)
    assert pipeline.matcher.counts["sets complete"] == 1


def test_a_checkpoint_that_sees_images_only_waits_for_nobody(make):
    pipeline = started(make, model=RgbModel())
    (matched,) = pipeline.add("image", scene.message_at("image", T, make), T + MS)
    assert (set(matched.readings), matched.missing) == ({"image"}, {})
    unused = started(make, model=RgbModel(), depth__policy="unused", lidar__policy="unused")
    assert unused.listened == ("image",)
    needed = started(make, model=RgbModel(), lidar__policy="required")
    assert needed.extras == ("depth",)
    assert needed.add("image", scene.message_at("image", T, make), T + MS) == []


def test_points_over_the_image_are_near_red_and_far_blue(make):
    pipeline = started(make)
    message = scene.message_at("lidar", STAMPS["lidar"], make)
    result = pipeline.process(one_set(pipeline, make, lidar=message))
    picture = result.lidar_overlay()
    image = scene.readings_at("image", T)
    xyz, _, _ = result.points()
    uv, _ = scene.CAMERA.project(xyz)
    column, row = uv.astype(int).T
    drawn = np.zeros((96, 160), bool)
    drawn[row, column] = True
    np.testing.assert_array_equal(picture[~drawn], image[~drawn] // 2)
    range_m = np.linalg.norm(xyz, axis=1)
    alone = np.bincount(row * 160 + column, minlength=96 * 160)[row * 160 + column] == 1
    near, far = (alone & (range_m < 8)), (alone & (range_m > 45))
    assert near.sum() > 5 and far.sum() > 5
    red, _, blue = picture[row[near], column[near]].astype(int).T
    assert (red > 100).all() and not blue.any()
    red, _, blue = picture[row[far], column[far]].astype(int).T
    assert (blue > 200).all() and not red.any()
    message = TOPICS["debug/lidar_overlay"][1](result, Outputs(make), 0.5)
    assert (message.encoding, message.height, message.width) == ("rgb8", 96, 160)
    without_scan = pipeline.process(one_set(started(make), make, without("lidar")))
    assert without_scan.lidar_overlay() is None


class Small(FakeModel):
    """Has memory for two frames."""

    most = 2

    def segment(self, frames, size=None):
        if len(frames) > self.most:
            raise torch.OutOfMemoryError("out of memory")
        return super().segment(frames, size)


def outcomes_of(pipeline, sets: int) -> list:
    """What was left out of each set; None where it failed, the reason where it was refused."""
    matched, outcomes = one_set(pipeline), []
    for _ in range(sets):
        try:
            outcomes.append(set(pipeline.process(matched).troubles))
        except torch.OutOfMemoryError:
            outcomes.append(None)
        except UnusableSet as error:
            outcomes.append(str(error))
    return outcomes


def test_a_device_that_runs_out_of_memory_gives_up_the_last_modality():
    outcomes = outcomes_of(started(model=Small()), 6)
    assert outcomes == [None, None, None, None, {"lidar", "event"}, {"lidar", "event"}]


def test_what_is_required_is_not_given_up_for_lack_of_memory():
    outcomes = outcomes_of(started(model=Small(), lidar__policy="required"), 5)
    assert outcomes == [None, None, None, None, {"event", "depth"}]


def test_where_what_is_required_takes_more_memory_than_there_is_there_are_no_labels():
    class Tiny(Small):
        most = 1

    pipeline = started(model=Tiny(), lidar__policy="required", image__policy="required")
    *failed, last = outcomes_of(pipeline, 6)
    assert failed == [None] * 5
    assert last.startswith(
        "the device runs out of memory with image, lidar alone; choose a smaller"
    )
