import pytest

from memorysam_ros.bags import BagError, Topic
from memorysam_ros.bags.topics import CLOUD, COMPRESSED, IMAGE, INFO, PACKET, find


def topics(**types: str) -> list[Topic]:
    return [Topic(name, kind, 10) for name, kind in types.items()]


RIGS = {
    "realsense and ouster": (
        {
            "/camera/color/image_raw": IMAGE,
            "/camera/color/image_raw/compressed": COMPRESSED,
            "/camera/color/camera_info": INFO,
            "/camera/depth/image_rect_raw": IMAGE,
            "/camera/depth/camera_info": INFO,
            "/camera/aligned_depth_to_color/image_raw": IMAGE,
            "/camera/aligned_depth_to_color/camera_info": INFO,
            "/camera/infra1/image_rect_raw": IMAGE,
            "/camera/depth/color/points": CLOUD,
            "/ouster/points": CLOUD,
            "/event_camera/events": PACKET,
        },
        {
            "image": "/camera/color/image_raw",
            "camera_info": "/camera/color/camera_info",
            "depth": "/camera/aligned_depth_to_color/image_raw",
            "depth_camera_info": "/camera/aligned_depth_to_color/camera_info",
            "events": "/event_camera/events",
            "points": "/ouster/points",
        },
    ),
    "zed": (
        {
            "/zed/zed_node/rgb/image_rect_color": IMAGE,
            "/zed/zed_node/rgb/camera_info": INFO,
            "/zed/zed_node/depth/depth_registered": IMAGE,
            "/zed/zed_node/depth/camera_info": INFO,
            "/zed/zed_node/point_cloud/cloud_registered": CLOUD,
        },
        {
            "image": "/zed/zed_node/rgb/image_rect_color",
            "camera_info": "/zed/zed_node/rgb/camera_info",
            "depth": "/zed/zed_node/depth/depth_registered",
            "depth_camera_info": "/zed/zed_node/depth/camera_info",
            "points": "/zed/zed_node/point_cloud/cloud_registered",
        },
    ),
    "kitti": (
        {
            "/camera/image_raw": IMAGE,
            "/camera/camera_info": INFO,
            "/lidar/points": CLOUD,
            "/imu": "sensor_msgs/msg/Imu",
        },
        {
            "image": "/camera/image_raw",
            "camera_info": "/camera/camera_info",
            "points": "/lidar/points",
        },
    ),
    "compressed only, with results of an earlier replay": (
        {
            "/front/image_raw/compressed": COMPRESSED,
            "/front/camera_info": INFO,
            "/front/depth/compressedDepth": COMPRESSED,
            "/segment_node/output/color": IMAGE,
            "/segment_node/output/camera_info": INFO,
            "/segment_node/output/points": CLOUD,
            "/ground_truth/labels": IMAGE,
            "/events/image": IMAGE,
        },
        {
            "image": "/front/image_raw/compressed",
            "camera_info": "/front/camera_info",
            "depth": "/front/depth/compressedDepth",
            "events": "/events/image",
        },
    ),
}


@pytest.mark.parametrize("rig", RIGS)
def test_the_inputs_of_common_rigs(rig):
    present, expected = RIGS[rig]
    assert find(topics(**present), {}) == expected


def test_what_is_given_has_precedence():
    present = topics(**RIGS["realsense and ouster"][0])
    found = find(present, {"depth": "/camera/depth/image_rect_raw", "points": "", "events": ""})
    assert found["depth"] == "/camera/depth/image_rect_raw"
    assert found["depth_camera_info"] == "/camera/depth/camera_info"
    assert "points" not in found and "events" not in found


def test_topics_without_messages_are_not_there():
    assert find([Topic("/image_raw", IMAGE, 0)], {}) == {}
    with pytest.raises(BagError, match="no topic /image_raw"):
        find([Topic("/image_raw", IMAGE, 0)], {"image": "/image_raw"})


def test_the_fuller_of_two_equal_topics():
    present = [Topic("/a/image_raw", IMAGE, 3), Topic("/b/image_raw", IMAGE, 30)]
    assert find(present, {}) == {"image": "/b/image_raw"}


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"radar": "/radar"}, "no input 'radar'; known are image, camera_info"),
        ({"image": "/nowhere"}, "it has /camera/camera_info, /camera/image_raw"),
        ({"image": "/lidar/points"}, "is a sensor_msgs/msg/PointCloud2; image takes"),
    ],
)
def test_wrong_topics(given, words):
    with pytest.raises(BagError, match=words):
        find(topics(**RIGS["kitti"][0]), given)
