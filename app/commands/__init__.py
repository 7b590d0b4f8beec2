"""What people who run it do by command: put events back on the road, fill in old ones, judge a stand-in."""
