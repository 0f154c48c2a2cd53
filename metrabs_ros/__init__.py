"""ROS 2 node and bag tools of MeTRAbs."""
