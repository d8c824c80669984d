module millpond/bench

go 1.23

require github.com/valyala/bytebufferpool v1.0.0
